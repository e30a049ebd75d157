"""The checkpoints of a run: which are complete, which one to resume from, which ones to keep.

verl names them ``global_step_<N>`` in trainer.default_local_dir, and the newest complete one in
``latest_checkpointed_iteration.txt``. This module adds a manifest to each, ``best/global_step_<N>`` and ``best.json``.

Reading a checkpoint of a hundred gigabytes before every start would take too long. `find_fault` therefore looks for
what a full or broken disk or a killed process leaves behind: missing files, wrong sizes, archives without a directory,
records without a header. ``full=True`` reads everything and compares the checksums that torch stores in its files.
"""

import json
import os
import re
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.files import write_text
from tooln1.run_folder import TRACKER, checkpoint_folder, checkpoint_steps, tracked_step

MANIFEST = "manifest.json"
BEST = "best"
BEST_FILE = "best.json"

_SHARD = re.compile(r"(\w+)_world_size_(\d+)_rank_(\d+)\.pt")
# Before the first checkpoint, nothing tells its size.
_LEAST_ROOM = 10_000_000
# The message of require_room, the system's, and torch.save's.
_DISK_FULL = re.compile(r"free on this disk|No space left|PytorchStreamWriter failed")
_RECORD = b"PK\x03\x04"  # the first bytes of every record in a zip archive


@dataclass(frozen=True)
class Choice:
    """The step to resume from (None for a fresh start), and one sentence on each checkpoint that cannot be used."""

    step: int | None
    notes: tuple[str, ...]


def write_manifest(folder: Path) -> None:
    """Note the files of a complete checkpoint with their sizes in bytes."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in _files(folder) if path.name != MANIFEST}
    write_text(folder / MANIFEST, json.dumps({"files": sizes}, indent=1) + "\n")


def find_fault(folder: Path, full: bool = False) -> str | None:
    """Return what is wrong with a checkpoint, or None.

    A checkpoint with a manifest must have the listed files in their sizes. One that verl alone has written must have
    the shards of all ranks and the state of the data loader. Every file must be valid in its format.
    """
    manifest = folder / MANIFEST
    faults = _manifest_faults(folder) if manifest.exists() else _missing_parts(folder)
    for fault in faults:
        return fault
    for path in _files(folder):
        fault = _file_fault(path, full)
        if fault:
            return f"{path.relative_to(folder)}: {fault}"
    return None


def choose(checkpoints: Path, full: bool = False) -> Choice:
    """Find the newest usable checkpoint, set broken ones aside, and write the usable one into verl's tracker file.

    Nothing is deleted: a broken ``global_step_<N>`` becomes ``global_step_<N>.damaged``. A complete checkpoint newer
    than the tracker's is left alone, since somebody may have edited the tracker to go back.

    Raises:
        UserError: the tracker names a checkpoint, and no usable one is left.
    """
    tracked, notes, chosen = tracked_step(checkpoints), [], None
    if tracked is None and (checkpoints / TRACKER).exists():
        notes.append(f"{checkpoints / TRACKER}: expected the number of a step; it will be rewritten")
    for step in reversed(checkpoint_steps(checkpoints)):
        folder = checkpoint_folder(checkpoints, step)
        if _is_rotated(folder) and (tracked is None or step < tracked):
            continue
        fault = find_fault(folder, full)
        if fault:
            notes.append(f"{folder}: not usable ({fault}); set aside as {_set_aside(folder).name}")
        elif tracked is not None and step > tracked:
            notes.append(f"{folder}: newer than step {tracked} of {TRACKER}; the run resumes from step {tracked}")
        else:
            chosen = step
            break
    if chosen is None and (checkpoints / TRACKER).exists():
        raise UserError(f"{_nothing_left(checkpoints)} {'; '.join(notes)}")
    if chosen != tracked:
        write_text(checkpoints / TRACKER, f"{chosen}")
        notes.append(f"{checkpoints}: resuming from step {chosen}")
    return Choice(chosen, tuple(notes))


def read_best(checkpoints: Path) -> dict[str, Any] | None:
    """Return {"step", "accuracy"} of the best checkpoint, None if there is none."""
    try:
        best = json.loads((checkpoints / BEST_FILE).read_text())
        step, _ = int(best["step"]), float(best["accuracy"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return best if checkpoint_folder(checkpoints / BEST, step).is_dir() else None


def keep_best(checkpoints: Path, step: int, accuracy: float) -> bool:
    """Keep the checkpoint of ``step`` in best/ if its validation accuracy is the highest so far.

    Its files are hard links, so that the rotation may delete ``global_step_<N>``; they are copies only on a file system
    without links. With equal accuracies the earlier step stays.

    Returns:
        True if it is the best now.
    """
    best, source = read_best(checkpoints), checkpoint_folder(checkpoints, step)
    if not source.is_dir() or (best and accuracy <= best["accuracy"]):
        return False
    target = checkpoint_folder(checkpoints / BEST, step)
    partial = target.with_name(f".{target.name}.partial")
    for leftover in (partial, target):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=_link)
    os.replace(partial, target)
    write_text(checkpoints / BEST_FILE, json.dumps({"step": step, "accuracy": accuracy}) + "\n")
    for other in checkpoint_steps(checkpoints / BEST):
        if other != step:
            shutil.rmtree(checkpoint_folder(checkpoints / BEST, other))
    return True


def prune(checkpoints: Path, keep: int, newest: int) -> None:
    """Delete all but the ``keep`` newest checkpoints up to step ``newest``.

    verl's rotation knows only the checkpoints that its own process has saved. It leaves those of earlier attempts, and
    the emptied folders.
    """
    done = [step for step in checkpoint_steps(checkpoints) if step <= newest]
    for step in done[:-keep]:
        shutil.rmtree(checkpoint_folder(checkpoints, step))


def require_room(checkpoints: Path) -> None:
    """Raise UserError if the disk has no room for another checkpoint, of the size of the last one."""
    step = tracked_step(checkpoints)
    needed = 0 if step is None else sum(path.stat().st_size for path in _files(checkpoint_folder(checkpoints, step)))
    existing = next(folder for folder in (checkpoints, *checkpoints.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < max(needed, _LEAST_ROOM):
        raise UserError(
            f"{checkpoints}: {free / 1e9:.2f} GB free on this disk, {needed / 1e9:.2f} GB needed for the next "
            f"checkpoint; make room, and the same command resumes from {f'step {step}' if step else 'the start'}"
        )


def refuse_full_disk(checkpoints: Path, log: str) -> None:
    """Raise UserError as `require_room` does, if a run's log says that it ended because the disk is full."""
    if _DISK_FULL.search(log):
        require_room(checkpoints)


def remove(folder: Path) -> None:
    """Delete a checkpoint, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _manifest_faults(folder: Path) -> Iterator[str]:
    try:
        sizes = json.loads((folder / MANIFEST).read_text())["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield f"{MANIFEST}: not a list of files"
        return
    for name, size in sizes:
        path = folder / name
        if not path.is_file():
            yield f"{name}: missing"
        elif path.stat().st_size != size:
            yield f"{name}: {path.stat().st_size} bytes, {size} when it was saved"


def _missing_parts(folder: Path) -> Iterator[str]:
    shards: dict[tuple[Path, str, int], set[int]] = defaultdict(set)
    for path in _files(folder):
        match = _SHARD.fullmatch(path.name)
        if match:
            shards[path.parent, match[1], int(match[2])].add(int(match[3]))
    if not shards:
        yield "no shard of a model in it"
    for (parent, kind, size), ranks in shards.items():
        missing = sorted(set(range(size)) - ranks)
        if missing:
            yield f"{(parent / kind).relative_to(folder)}: of {size} ranks those of {missing} are missing"
        # Rank 0 writes it after its shards.
        elif not (parent / "fsdp_config.json").is_file():
            yield f"{(parent / 'fsdp_config.json').relative_to(folder)}: missing"
    # Written after all shards; the SFT trainer writes one for each data-parallel rank.
    if not any(folder.glob("data*.pt")):
        yield "data.pt: missing"


def _file_fault(path: Path, full: bool) -> str | None:
    try:
        if path.suffix == ".pt":
            return _archive_fault(path, full)
        if path.suffix == ".safetensors":
            return _safetensors_fault(path)
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return "not JSON"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _archive_fault(path: Path, full: bool) -> str | None:
    """Check a zip archive of torch.save: the directory at its end says where the records begin."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            records = archive.infolist()
            for record in records:
                file.seek(record.header_offset)
                if file.read(len(_RECORD)) != _RECORD:
                    return f"its record {record.filename} is overwritten"
            damaged = archive.testzip() if full else None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        return f"not a complete torch file ({error})"
    if damaged:
        return f"its record {damaged} does not have its checksum"
    return None if any(record.filename.endswith("data.pkl") for record in records) else "not a torch file"


def _safetensors_fault(path: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # reads the head and compares it with the file's size
            return None
    except SafetensorError as error:
        return f"not a complete safetensors file ({error})"


def _is_rotated(folder: Path) -> bool:
    """True if verl's rotation emptied the folder: it deletes what the ranks wrote and leaves the rest."""
    return not any(folder.rglob("*_rank_*.pt")) and any(folder.glob("data*.pt"))


def _set_aside(folder: Path) -> Path:
    number, target = 1, folder.with_name(f"{folder.name}.damaged")
    while target.exists():
        number += 1
        target = folder.with_name(f"{folder.name}.damaged-{number}")
    os.rename(folder, target)
    return target


def _nothing_left(checkpoints: Path) -> str:
    best = read_best(checkpoints)
    way = (
        f"resume from the best one with trainer.resume_mode=resume_path "
        f"trainer.resume_from_path={checkpoint_folder(checkpoints / BEST, best['step'])}"
        if best
        else "choose another run folder to start again"
    )
    return f"{checkpoints}: no usable checkpoint is left; {way}:"


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another device, or a file system without links
        shutil.copy2(source, target)
    return target
