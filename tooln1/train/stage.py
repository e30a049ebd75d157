"""Running one stage of a run: a child process with its log file, and the memory that it takes."""

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tooln1.errors import ProcessError
from tooln1.processes import start_child

POLL_SECONDS = 0.2
MEMORY_SECONDS = 3.0


class MemoryWatch:
    """Watches this process and its descendants; ``peak_gb`` is the most they used together, in 10**9 bytes.

    Counted is the proportional set size: memory that several processes share counts once.
    """

    def __init__(self) -> None:
        self.peak_gb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_error) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        root = psutil.Process()
        while not self._stop.wait(MEMORY_SECONDS):
            used = sum(_proportional_size(process) for process in [root, *root.children(recursive=True)])
            self.peak_gb = max(self.peak_gb, used / 1e9)


def _proportional_size(process: psutil.Process) -> int:
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def run_stage(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    watch: Callable[[], None] = lambda: None,
    hint: str = "",
) -> None:
    """Run ``command`` to its end with its output in ``log``, calling ``watch`` five times a second.

    Raises:
        ProcessError: the command failed; the message has the log's last lines, then ``hint``.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        # Even a killed driver leaves no training behind; Ray's processes follow theirs.
        child = start_child(command, output, environment)
        while child.poll() is None:
            watch()
            time.sleep(POLL_SECONDS)
    watch()
    if child.returncode != 0:
        raise ProcessError("\n".join([_describe_failure(command, child.returncode, log), *([hint] if hint else [])]))


def _describe_failure(command: Sequence[str], code: int, log: Path) -> str:
    how = f"was stopped by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    lines = log.read_text(errors="replace").splitlines()[-20:]
    return "\n".join([f"{' '.join(command[1:4])} {how}; the end of {log}:", *(f"  {line[:300]}" for line in lines)])
