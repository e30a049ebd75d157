"""Stopping a run: a signal to the driver becomes a file that the trainer looks for.

Slurm (``--signal=B:TERM@600``), Kubernetes and people send SIGTERM before they kill.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType

STOP_FILE, STOPPED_FILE = "stop", "stopped"
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

# "Temporary failure, try again": the exit code of a run that was pre-empted and can go on.
PREEMPTED = os.EX_TEMPFAIL
# A signal to a process group may arrive twice: directly, and passed on by the shell.
_SAME_REQUEST_SECONDS = 2.0


class StopRequests:
    """A context manager that turns the first signal into the file ``stop`` and the second into the end of the run.

    Args:
        folder: trainer.default_local_dir, where LongRunTrainer looks for the file.
        is_graceful: whether the trainer looks for the file; if not, the first signal ends the run.
    """

    def __init__(self, folder: Path, is_graceful: bool):
        self._folder = folder
        self._is_graceful = is_graceful
        self._asked = 0.0
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "StopRequests":
        for name in (STOP_FILE, STOPPED_FILE):  # left by an earlier attempt
            (self._folder / name).unlink(missing_ok=True)
        self._handlers = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @property
    def was_answered(self) -> bool:
        """True if the trainer saved its checkpoint and stopped."""
        return (self._folder / STOPPED_FILE).exists()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        name, now = signal.Signals(number).name, time.monotonic()
        if not self._is_graceful:
            print(f"{name}: stopped; the same command resumes from the last checkpoint", file=sys.stderr)
            raise SystemExit(PREEMPTED)
        if not self._asked:
            self._asked = now
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / STOP_FILE).touch()
            print(f"{name}: the run stops after this step and saves it; a second {name} stops at once", file=sys.stderr)
        elif now - self._asked > _SAME_REQUEST_SECONDS:
            print(f"{name} again: stopped; the same command resumes from the last checkpoint", file=sys.stderr)
            raise SystemExit(128 + number)
