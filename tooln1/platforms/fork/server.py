"""The process that imports once and forks for everybody.

    python -m tooln1.platforms.fork.server SOCKET MODULE… -- MODULE…

The modules after ``--`` import ray. Ray reads once, when it is imported, to which job and node a worker belongs, so
they wait for the first client and take its word for it; a client of another job is sent away.
"""

import array
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tooln1.platforms.fork.client import HIGHEST_FILE, MOST_FILES, REFUSED, without_options
from tooln1.processes import die_with

# What makes a worker one of a job on a node; without them a process has nothing to do with Ray.
IDENTITY = ("RAY_JOB_ID", "RAY_RAYLET_PID")


def main(path: str, modules: Sequence[str], ray_modules: Sequence[str]) -> None:
    """Listen at ``path`` and fork for every client. Returns in a forked process, its work done."""
    die_with(os.getppid())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    multiprocessing.set_executable(shutil.which("tooln1-python") or sys.executable)
    preload(modules)
    request = Server(listener, ray_modules).serve()
    if request is not None:
        become(request)


def preload(modules: Sequence[str]) -> None:
    """Import ``modules``; what cannot be imported is left to the process that needs it."""
    gc.disable()
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            print(f"not preloaded: {name}: {error}", file=sys.stderr)
            continue
        if name == "torch":
            # Threads do not survive a fork, and libgomp would wait for them for ever: none may be started here.
            module.set_num_threads(1)
    # The forked processes share these pages as long as no collection writes to them.
    gc.collect()
    gc.freeze()
    gc.enable()


class Server:
    """Forks for clients and tells each how its process ended."""

    def __init__(self, listener: socket.socket, ray_modules: Sequence[str] = ()):
        self.pid = os.getpid()
        self.listener = listener
        self.ray_modules = ray_modules
        self.identity: dict[str, str] | None = None
        self.clients: dict[int, socket.socket] = {}  # by process id
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ)
        # A byte arrives here whenever a child ends.
        self.wakeup, wake = socket.socketpair()
        self.wakeup.setblocking(False)
        wake.setblocking(False)
        self._wake = wake
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self.selector.register(self.wakeup, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any] | None:
        """Work until killed; returns a request in the process that was forked for it."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    request = self._accept()
                    if request is not None:
                        return request
                elif key.fileobj is self.wakeup:
                    self.wakeup.recv(4096)
                else:
                    self._lose(key.fileobj)
            self._reap()

    def _accept(self) -> dict[str, Any] | None:
        client, _ = self.listener.accept()
        try:
            request, files = receive(client)
        except (OSError, ValueError):
            client.close()
            return None
        pid = os.fork() if self._is_known(request["environment"]) else REFUSED
        if pid == 0:
            client.detach()
            self._leave()
            take_files(files, request["files"])
            return request | {"server": self.pid}
        for number in files:
            os.close(number)
        _tell(client, pid)
        if pid == REFUSED:
            client.close()
        else:
            self.clients[pid] = client
            self.selector.register(client, selectors.EVENT_READ)
        return None

    def _is_known(self, environment: dict[str, str]) -> bool:
        """Whether a client belongs to the first one's job and node, or to none."""
        identity = {name: environment[name] for name in IDENTITY if name in environment}
        if identity and self.identity is None:
            self.identity = identity
            os.environ.update({name: value for name, value in environment.items() if name.startswith("RAY_")})
            preload(self.ray_modules)
        return identity in ({}, self.identity)

    def _leave(self) -> None:
        """What a forked process does not share with its server."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        # Their numbers will be other files': no destructor may close those.
        for own in (self.listener, self.wakeup, self._wake, *self.clients.values()):
            own.detach()

    def _lose(self, client: socket.socket) -> None:
        """A client that goes first was killed, and its process is meant."""
        pid = next(pid for pid, known in self.clients.items() if known is client)
        self.selector.unregister(client)
        os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while self.clients:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            client = self.clients.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            _tell(client, code if code >= 0 else 128 - code)
            if client in [key.fileobj for key in self.selector.get_map().values()]:
                self.selector.unregister(client)
            client.close()


def receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A client's request and its open files. Raises OSError or ValueError if it breaks off."""
    head, ancillary, _, _ = client.recvmsg(4, socket.CMSG_SPACE(MOST_FILES * array.array("i").itemsize))
    files = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    size, payload = int.from_bytes(head, "big"), b""
    while len(payload) < size:
        piece = client.recv(size - len(payload))
        if not piece:
            raise ValueError("the client left")
        payload += piece
    return json.loads(payload), list(files)


def take_files(received: Sequence[int], places: Sequence[int]) -> None:
    """Put the descriptors ``received`` in their ``places`` and close every other one."""
    # They wait above all places.
    waiting = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, HIGHEST_FILE + 1) for number in received]
    os.closerange(0, HIGHEST_FILE + 1)
    for number, place in zip(waiting, places, strict=True):
        os.dup2(number, place)
        os.close(number)


def become(request: dict[str, Any]) -> None:
    """Be the process that the client was asked to be."""
    die_with(request["server"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    niceness = request["niceness"]
    if niceness > os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream = open(number, "r" if number == 0 else "w", buffering=1, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
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


def _tell(client: socket.socket, number: int) -> None:
    try:
        client.sendall(f"{number}\n".encode())
    except OSError:
        pass


if __name__ == "__main__":
    border = sys.argv.index("--")
    main(sys.argv[1], sys.argv[2:border], sys.argv[border + 1 :])
