"""The processes of a run: children that die with their parent, and what a killed run left behind (Linux).

A variable in the environment marks a run's processes. The mark survives where parentage and process groups do not: Ray
starts its workers in new sessions, and a process whose parent was killed becomes a child of init.
"""

import atexit
import ctypes
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from tooln1.errors import UserError

RUN_DIR_VARIABLE = "TOOLN1_RUN_DIR"
_PR_SET_PDEATHSIG = 1
_KILL_SECONDS = 5.0
# Linux allows 107 bytes for a socket's path, of which Ray takes up to 70 (/ray/session_…/sockets/plasma_store).
_LONGEST_TMPDIR = 37


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent, whose process id is ``parent``, ends for any reason."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal.SIGKILL)


def start_child(command: Sequence[str], output: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen:
    """Start ``command`` with both its streams in ``output``; it is killed when this process ends.

    The child leads a new process group. Ctrl-C and batch systems signal the parent's group: the parent decides what
    happens to its child.
    """
    parent = os.getpid()
    return subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,
        preexec_fn=lambda: die_with(parent),
    )


def child_environment(run_dir: str | Path) -> dict[str, str]:
    """Return the variables by which the functions below find a driver's children and their descendants."""
    # Ray and vLLM rename their processes, which overwrites the visible environment unless SPT_NOENV is set.
    return {RUN_DIR_VARIABLE: str(Path(run_dir).resolve()), "SPT_NOENV": "1"}


def temporary_folders() -> dict[str, str]:
    """Return the variables that give a child temporary folders with room for the paths of its sockets.

    Raises:
        UserError: a folder is missing or cannot be written.
    """
    named = {name: os.environ.get(name) for name in ("TMPDIR", "RAY_TMPDIR")}
    return {name: _with_short_path(name, os.path.abspath(folder)) for name, folder in named.items() if folder}


@functools.cache
def _with_short_path(name: str, folder: str) -> str:
    """Return the folder, or a link to it if its path is long; the link lasts as long as this process."""
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{name}={folder}: not a folder that can be written; set {name} to one, such as /tmp")
    if len(os.fsencode(folder)) <= _LONGEST_TMPDIR:
        return folder
    try:
        link = Path(tempfile.mkdtemp(prefix="tooln1-", dir="/tmp"), "t")
        atexit.register(shutil.rmtree, link.parent, ignore_errors=True)
        link.symlink_to(folder)
    except OSError as error:
        raise UserError(
            f"{name}={folder}: too long for the paths of sockets in it, and /tmp cannot hold a link to it ({error}); "
            f"set {name} to a path of at most {_LONGEST_TMPDIR} bytes"
        ) from None
    return str(link)


def find_left_over_processes(run_dir: str | Path) -> list[psutil.Process]:
    """Return the live processes of a run: those that child_environment marks, and their descendants.

    The calling process and its ancestors are never among them. Hold the folder's RunLock: this function cannot tell a
    dead driver's processes from those of a live one.
    """
    this = psutil.Process()
    spared = {this.pid, *(parent.pid for parent in this.parents())}
    mark = child_environment(run_dir)[RUN_DIR_VARIABLE]
    marked, others = [], []
    for process in psutil.process_iter():
        if process.pid not in spared and _runs(process):
            (marked if _has_mark(process, mark) else others).append(process)
    # A process that cleared its environment is still the child of a marked one.
    found = {process.pid: process for process in marked}
    while descendants := [process for process in others if process.pid not in found and _parent(process) in found]:
        found.update((process.pid, process) for process in descendants)
    return list(found.values())


def stop_left_over_processes(run_dir: str | Path, patience: float = 0.0) -> list[psutil.Process]:
    """Stop the processes that find_left_over_processes finds, and return them.

    Args:
        patience: how many seconds SIGTERM gives them before SIGKILL. With 0 they are killed at once: what a dead driver
            left behind has nothing to save.

    Raises:
        UserError: naming the processes that survive SIGKILL.
    """
    stopped = {}
    killing_from = time.monotonic() + patience
    while found := find_left_over_processes(run_dir):
        now = time.monotonic()
        if now > killing_from + _KILL_SECONDS:
            names = ", ".join(str(process.pid) for process in found)
            raise UserError(f"{run_dir}: processes of an earlier run cannot be stopped: {names}; end them by hand")
        for process in found:
            # A process may start while the others end: Ray replaces its workers.
            if now >= killing_from:
                _signal(process, signal.SIGKILL)
            elif process.pid not in stopped:
                _signal(process, signal.SIGTERM)
            stopped[process.pid] = process
        time.sleep(0.05)
    return list(stopped.values())


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(RUN_DIR_VARIABLE) == mark
    except (psutil.Error, OSError):  # another user's, or just ended
        return False


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


def _runs(process: psutil.Process) -> bool:
    # Not wait(): it would take a child's exit status from the code that started the child.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        pass
