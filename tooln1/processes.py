"""The processes of a run: children that never outlive their parent, and finding what a killed run left behind (Linux).

A run's processes are known by a variable in their environment. The variable outlasts parentage and process groups: Ray
starts its workers in sessions of their own, and a process whose parent was killed becomes init's.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from tooln1.errors import UserError

RUN_DIR_VARIABLE = "TOOLN1_RUN_DIR"
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the kernel kill this process when ``parent``, its parent's process id, ends, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal.SIGKILL)


def start_child(command: Sequence[str], output: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen:
    """Start ``command`` with both its streams in ``output``; it is killed when this process ends.

    It leads a process group of its own: what is sent to the whole group of its parent, by Ctrl-C or a batch system, is
    the parent's to handle, and its own processes can be stopped with it.
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
    """What a driver adds to the environment of its children, so that the functions below find them and theirs."""
    # Ray and vLLM rename their processes, which overwrites the environment that others see unless SPT_NOENV is set.
    return {RUN_DIR_VARIABLE: str(Path(run_dir).resolve()), "SPT_NOENV": "1"}


def find_left_over_processes(run_dir: str | Path) -> list[psutil.Process]:
    """The live processes of a run: those marked by child_environment and all their descendants.

    The calling process and its ancestors are never among them. Whether the run is still wanted is the caller's to
    know: hold the RunLock of the folder.
    """
    this = psutil.Process()
    spared = {this.pid, *(parent.pid for parent in this.parents())}
    mark = child_environment(run_dir)[RUN_DIR_VARIABLE]
    marked, others = [], []
    for process in psutil.process_iter():
        if process.pid not in spared and _runs(process):
            (marked if _has_mark(process, mark) else others).append(process)
    # A process that cleared its environment is still the child of one that did not.
    found = {process.pid: process for process in marked}
    while descendants := [process for process in others if process.pid not in found and _parent(process) in found]:
        found.update((process.pid, process) for process in descendants)
    return list(found.values())


def stop_left_over_processes(run_dir: str | Path, patience: float = 5.0) -> list[psutil.Process]:
    """Stop what find_left_over_processes finds, and return it: SIGTERM to all, ``patience`` seconds, then SIGKILL.

    Raises:
        UserError: naming the processes that outlive even that.
    """
    stopped = found = find_left_over_processes(run_dir)
    for process in found:
        _signal(process, "terminate")
    deadline = time.monotonic() + patience
    while found and time.monotonic() < deadline:
        time.sleep(0.05)
        found = [process for process in found if _runs(process)]
    # Looking again finds what was started meanwhile: Ray replaces workers that end.
    deadline = time.monotonic() + max(patience, 1.0)
    while found := find_left_over_processes(run_dir) + [process for process in found if _runs(process)]:
        if time.monotonic() > deadline:
            names = ", ".join(sorted({str(process.pid) for process in found}))
            raise UserError(f"{run_dir}: processes of an earlier run cannot be stopped: {names}; end them by hand")
        for process in found:
            _signal(process, "kill")
        stopped = stopped + [process for process in found if process not in stopped]
        time.sleep(0.05)
    return stopped


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
    # Not wait(): that would take the exit status of a child from whoever started it.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(process: psutil.Process, name: str) -> None:
    try:
        getattr(process, name)()
    except psutil.Error:
        pass
