"""The ports of a run and its processes: whose they are, and leaving none behind.

A run's processes are known by a variable in their environment. It outlasts parentage and process groups: Ray starts its
workers in sessions of their own, and a process whose parent was killed becomes init's.
"""

import errno
import socket
import time
from pathlib import Path

import psutil

from tooln1.data.errors import DataError

RUN_DIR_VARIABLE = "TOOLN1_RUN_DIR"


def child_environment(run_dir: str | Path) -> dict[str, str]:
    """What a driver adds to the environment of its children, so that the functions below find them and theirs."""
    # Ray and vLLM rename their processes, which overwrites the environment that others see unless SPT_NOENV is set.
    return {RUN_DIR_VARIABLE: str(Path(run_dir).resolve()), "SPT_NOENV": "1"}


def check_port_free(port: int, purpose: str) -> None:
    """Raises DataError, naming the process if the system tells, if something listens on a port of this machine."""
    if not 0 < port < 65536:
        raise DataError(f"port {port} ({purpose}): expected a number from 1 to 65535; choose another")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of an ended run linger for a minute and are no obstacle: servers set this option as well.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise DataError(
                    f"port {port} ({purpose}): in use by {_listener(port)}; stop that process or choose another port"
                ) from None
            raise DataError(f"port {port} ({purpose}): cannot be used ({error}); choose another port") from None


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass
    return "another process"


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
        DataError: naming the processes that outlive even that.
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
            raise DataError(f"{run_dir}: processes of an earlier run cannot be stopped: {names}; end them by hand")
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
