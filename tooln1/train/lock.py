"""One run at a time in a run folder."""

import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

import psutil

from tooln1.errors import UserError


class RunLock:
    """A context manager that holds ``run.lock`` in the run folder, which is created if missing.

    The operating system drops the lock when its process ends; the file stays and means nothing by itself. It holds the
    owner's pid, start time and host for the message to the next process.

    Raises:
        UserError: on entering, if a live process holds the lock, naming its pid and how to stop it.
    """

    _held: set[Path] = set()

    def __init__(self, run_dir: str | Path):
        self.path = Path(run_dir).resolve() / "run.lock"
        self._file = -1

    def __enter__(self) -> "RunLock":
        # The system refuses other processes only, and drops the lock when this process closes the file a second time.
        if self.path in self._held:
            raise self._refusal(_this_process())
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(f"{self.path.parent}: cannot be used as a run folder ({error}); choose another") from None
        try:
            self._acquire()
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(_this_process()).encode(), 0)
        except BaseException:
            os.close(self._file)
            raise
        self._held.add(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.discard(self.path)
        os.ftruncate(self._file, 0)
        os.close(self._file)

    def _acquire(self) -> None:
        try:
            # lockf, not flock: a child that outlives a killed run would inherit a flock and keep the folder locked.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = self._owner()
            refused = error.errno in (errno.EACCES, errno.EAGAIN)
            # Some file systems have no locks; the content of the file decides then.
            if refused or _is_alive(owner):
                raise self._refusal(owner) from None

    def _owner(self) -> dict:
        try:
            owner = json.loads(os.pread(self._file, 10_000, 0))
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) else {}

    def _refusal(self, owner: dict) -> UserError:
        if "pid" not in owner:  # the owner has taken the lock and not yet written
            return UserError(f"{self.path.parent}: in use by another run; wait for it, or choose another run folder")
        where = "" if owner.get("host") == socket.gethostname() else f" on {owner.get('host')}"
        return UserError(
            f"{self.path.parent}: in use by another run since {owner.get('started')}, process {owner['pid']}{where}; "
            f"wait for it, stop it with: kill {owner['pid']}{where}, or choose another run folder"
        )


def _this_process() -> dict:
    created = psutil.Process().create_time()
    return {
        "pid": os.getpid(),
        "create_time": created,
        "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(created)),
        "host": socket.gethostname(),
    }


def _is_alive(owner: dict) -> bool:
    """True if the owner still runs, or is on another host; its pid may belong to another process by now."""
    if owner.get("host") not in (None, socket.gethostname()):
        return True
    try:
        return abs(psutil.Process(owner["pid"]).create_time() - owner["create_time"]) < 1
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
