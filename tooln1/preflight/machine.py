"""The machine of a run: Python, package versions, memory, disk and shared memory. A gigabyte is 10**9 bytes."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path, PurePosixPath

import psutil
from packaging.specifiers import SpecifierSet

from tooln1.errors import UserError

GB = 10**9
_SHARED_MEMORY = Path("/dev/shm")


def check_python() -> None:
    """Raises UserError if this Python is not one that tooln1's metadata allow."""
    try:
        allowed = metadata("tooln1")["Requires-Python"]
    except PackageNotFoundError:
        raise UserError("tooln1 is not installed in this environment; run pip install -e . in its folder") from None
    if not SpecifierSet(allowed).contains(platform.python_version(), prereleases=True):
        raise UserError(
            f"Python {platform.python_version()}: expected {allowed}; make the virtual environment with such a Python"
        )


def check_memory(needed_gb: float) -> None:
    """Raises UserError if less memory is available than a run needs."""
    available, limit = available_memory()
    if available < needed_gb * GB:
        raise UserError(
            f"memory: {available / GB:.1f} GB available {limit}, {needed_gb:g} GB needed; end other programs, "
            f"allow this one more memory, or take a smaller model or batch"
        )


def available_memory(
    cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> tuple[int, str]:
    """Bytes that can still be used without swapping, and what sets that bound: the machine, or a cgroup's limit."""
    bounds = [(psutil.virtual_memory().available, "on this machine")]
    for limit, room in _rooms(cgroups, membership):
        bounds.append((room, f"under the container's limit of {limit / GB:.1f} GB"))
    return min(bounds)


def _rooms(cgroups: Path, membership: Path) -> Iterator[tuple[int, int]]:
    """(limit, what is left of it) for this process's cgroup and those above it, in version 2 or version 1."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            base, limit_name, usage_name = cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache_name = "total_inactive_file"
        elif number == "0":
            base, limit_name, usage_name, cache_name = cgroups, "memory.max", "memory.current", "inactive_file"
        else:
            continue
        # Inside a container the path may name folders that only the host sees; the container's own are the base.
        own = PurePosixPath(path.lstrip("/"))
        for folder in dict.fromkeys(base / part for part in (own, *own.parents)):
            try:
                limit, usage = int((folder / limit_name).read_text()), int((folder / usage_name).read_text())
                stat = dict(entry.split() for entry in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # "max": no limit
                continue
            # Cached file pages count as used, but give way to whoever needs the memory.
            yield limit, max(limit - usage + int(stat.get(cache_name, 0)), 0)


def check_disk(folder: str | Path, needed_gb: float) -> None:
    """Raises UserError if a folder, which need not exist yet, cannot be written to or has too little space."""
    existing = Path(folder).absolute()
    while not os.path.exists(existing):  # unlike Path.exists, false where a folder above may not be read
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"{folder}: {existing} is a file; expected a folder for the run; choose another")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: {existing} is not writable; choose another run folder or change its permissions")
    free = shutil.disk_usage(existing).free
    if free < needed_gb * GB:
        raise UserError(
            f"{folder}: {free / GB:.1f} GB free on this disk, {needed_gb:g} GB needed; "
            f"make room or choose a run folder on another disk"
        )


def check_shared_memory(needed_gb: float, mount: Path = _SHARED_MEMORY) -> None:
    """Raises UserError if /dev/shm, through which Ray, vLLM and the weights travel, has too little space.

    A system without one passes: Ray uses files there.
    """
    if not mount.is_dir():
        return
    usage = shutil.disk_usage(mount)
    if usage.free < needed_gb * GB:
        size = f"{max(needed_gb, 1):.0f}g"
        raise UserError(
            f"{mount}: {usage.free / GB:.1f} GB free of {usage.total / GB:.1f} GB, {needed_gb:g} GB needed; "
            f"start the container with --shm-size={size}, or run: mount -o remount,size={size} {mount}"
        )
