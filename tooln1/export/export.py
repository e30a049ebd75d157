"""From a run's checkpoint to a Hugging Face folder: merged, checked, and described in a model card."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tooln1.errors import UserError
from tooln1.export.card import write_card
from tooln1.export.check import check_model_folder
from tooln1.export.merge import merge, note_template
from tooln1.export.sources import RunSources
from tooln1.files import writing
from tooln1.run_folder import checkpoint_folder, checkpoint_steps, tracked_step
from tooln1.train import checkpoints


def export(run_dir: Path, step: str, output: Path, name: str | None = None) -> Path:
    """Write the model folder ``output``, whole or not at all, and return its path.

    Args:
        run_dir: the folder of a run of `tooln1 train`, or of the quickstart.
        step: a number, ``best`` (the last if there is no best), or ``last``.
        output: must not exist yet, or be empty.
        name: what the card calls the model; by default the folder's name.

    Raises:
        UserError: the run, its checkpoint or the output folder is not as needed.
        StageError: verl's merger failed.
    """
    sources = RunSources(run_dir)
    folder = find_checkpoint(sources.checkpoints, step)
    fault = checkpoints.find_fault(folder)
    if fault:
        raise UserError(f"{folder}: not usable ({fault}); take another with --step; there are {_list(sources)}")
    with _new_folder(output) as partial:
        merge(folder, partial, run_dir / "logs" / "export.log")
        check_model_folder(partial)
        note_template(partial, *sources.train_files)
        write_card(partial, sources, int(folder.name.removeprefix("global_step_")), name or output.name)
    return output


def find_checkpoint(folder: Path, step: str) -> Path:
    """The checkpoint that ``step`` names, in the rotation or in best/. Raises UserError."""
    best, number = checkpoints.read_best(folder), tracked_step(folder)
    if step == "best" and best:
        # Not the step's folder in the rotation, which a later attempt may have trained anew.
        return checkpoint_folder(folder / checkpoints.BEST, best["step"])
    if step not in ("best", "last"):
        if not step.isascii() or not step.isdigit():
            raise UserError(f"--step {step}: expected a number, best or last")
        number = int(step)
    for place in (folder, folder / checkpoints.BEST):
        if number is not None and checkpoint_folder(place, number).is_dir():
            return checkpoint_folder(place, number)
    there = ", ".join(map(str, checkpoint_steps(folder))) or "none"
    raise UserError(f"{folder}: no checkpoint {step}; the steps with one are: {there}")


def _list(sources: RunSources) -> str:
    return ", ".join(map(str, checkpoint_steps(sources.checkpoints)))


@contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """A temporary folder beside ``output`` that becomes it if the block ends well, and is removed otherwise."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output}: exists already; remove it, or choose another --output")
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if output.exists():
                output.rmdir()
            os.replace(partial, output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
