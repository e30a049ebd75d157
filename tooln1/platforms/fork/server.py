"""The process that imports modules once and forks for its clients.

    python -m tooln1.platforms.fork.server SOCKET MODULE… -- MODULE…

The modules after ``--`` import ray. Ray reads at import to which job and node a worker belongs, so these modules wait
for the first client that is a worker of a job. All later clients belong to the same job: each run starts a server.
"""

import array
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tooln1.platforms.fork.client import open_files, without_options
from tooln1.processes import die_with

MOST_FILES = 253  # in one message, by the kernel


def main(path: str, modules: Sequence[str], ray_modules: Sequence[str]) -> None:
    """Listen at ``path`` and fork for every client. Returns in a forked process when its work is done."""
    die_with(os.getppid())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    multiprocessing.set_executable(shutil.which("tooln1-python") or sys.executable)
    preload(modules)
    become(Server(listener, ray_modules).serve())


def preload(modules: Sequence[str]) -> None:
    """Import ``modules``. A module that cannot be imported is left to the process that needs it."""
    gc.disable()
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            print(f"not preloaded: {name}: {error}", file=sys.stderr)
            continue
        if name == "torch":
            # Start no threads here: they do not survive a fork, and libgomp would wait for them forever.
            module.set_num_threads(1)
    # The forked processes share these pages until a collection writes to them.
    gc.collect()
    gc.freeze()
    gc.enable()


class Server:
    """Forks for clients and tells each one how its process ended."""

    def __init__(self, listener: socket.socket, ray_modules: Sequence[str] = ()):
        self.listener = listener
        self.ray_modules = ray_modules
        self.clients: dict[int, socket.socket] = {}  # by process id
        # `ended` becomes readable when a child ends.
        self.ended, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

    def serve(self) -> dict[str, Any]:
        """Serve until killed. Returns only in a forked process: the request that it is for."""
        while True:
            ready, _, _ = select.select([self.listener, self.ended, *self.clients.values()], [], [])
            if self.ended in ready:
                self.ended.recv(4096)
            for pid, client in self.clients.items():
                if client in ready:  # a client sends nothing more: it was killed, and its process dies with it
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            if self.listener in ready and (request := self._accept()):
                return request

    def _accept(self) -> dict[str, Any] | None:
        client, _ = self.listener.accept()
        try:
            request, files = receive(client)
        except (OSError, ValueError):
            client.close()
            return None
        if self.ray_modules and "RAY_JOB_ID" in request["environment"]:
            os.environ.update({key: value for key, value in request["environment"].items() if key.startswith("RAY_")})
            preload(self.ray_modules)
            self.ray_modules = ()
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            # take_files closes these files, whose numbers then belong to the client's.
            for own in (client, self.listener, self.ended, self._wake, *self.clients.values()):
                own.detach()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            take_files(files, request["files"])
            return request | {"server": server}
        for number in files:
            os.close(number)
        _tell(client, pid)
        self.clients[pid] = client
        return None

    def _reap(self) -> None:
        for pid in list(self.clients):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                client = self.clients.pop(pid)
                _tell(client, code if code >= 0 else 128 - code)
                client.close()


def receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return a client's request and its open files. Raises OSError or ValueError if it breaks off."""
    head, ancillary, _, _ = client.recvmsg(4, socket.CMSG_SPACE(MOST_FILES * array.array("i").itemsize))
    files = array.array("i")
    for _level, _kind, data in ancillary:
        files.frombytes(data)
    size, payload = int.from_bytes(head, "big"), b""
    while len(payload) < size:
        piece = client.recv(size - len(payload))
        if not piece:
            raise ValueError("the client ended")
        payload += piece
    return json.loads(payload), list(files)


def take_files(received: Sequence[int], places: Sequence[int]) -> None:
    """Move the descriptors ``received`` to their ``places`` and close all others."""
    above = max([*received, *places]) + 1
    waiting = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, above) for number in received]
    for number in open_files():
        if number not in waiting:
            os.close(number)
    for number, place in zip(waiting, places, strict=True):
        os.dup2(number, place)
        os.close(number)


def become(request: dict[str, Any]) -> None:
    """Run a client's command in this process, which was forked for it."""
    die_with(request["server"])
    # Ray ends the process group of a worker that leaves (raylet, DisconnectClient): it must not be everybody's.
    os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "ray" in sys.modules:
        _reseed_ray(sys.modules["ray"])
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    arguments = without_options(request["arguments"])
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        sys.modules["__main__"] = module = types.ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), module.__dict__)  # noqa: S102
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name="__main__")


def _reseed_ray(ray: types.ModuleType) -> None:
    """Let this process draw other ids than its siblings.

    Ray's generator was seeded before the fork and cannot be seeded again, so each process skips as many ids as its
    process id says. Two workers that draw the same id at the same time for their first object abort.
    """
    for _ in range(os.getpid() % 2**16):
        ray.ObjectRef.from_random()


def _tell(client: socket.socket, number: int) -> None:
    try:
        client.sendall(f"{number}\n".encode())
    except OSError:
        pass


if __name__ == "__main__":
    border = sys.argv.index("--")
    main(sys.argv[1], sys.argv[2:border], sys.argv[border + 1 :])
