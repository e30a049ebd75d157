"""Everything a run on the CPU depends on, checked before anything heavy starts.

    checked = check_run(settings)  # raises UserError: one line for the user, and exit code 2

What fails here would fail minutes later as a traceback out of Ray, vLLM or verl. None of those is imported, nor torch:
the checks take about three seconds, nearly all of it the tokenizer's. Every check is a function of its own too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tooln1.platforms.versions import check_versions
from tooln1.preflight.files import PromptLengths, check_files, check_prompt_lengths, measure_prompt_lengths
from tooln1.preflight.machine import (
    available_memory,
    check_disk,
    check_memory,
    check_python,
    check_shared_memory,
)
from tooln1.preflight.model import check_model, hub_is_offline, model_config

__all__ = [
    "Preflight",
    "PromptLengths",
    "RunSettings",
    "available_memory",
    "check_disk",
    "check_files",
    "check_memory",
    "check_model",
    "check_prompt_lengths",
    "check_python",
    "check_run",
    "check_shared_memory",
    "check_versions",
    "hub_is_offline",
    "measure_prompt_lengths",
    "model_config",
]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run is going to use. A gigabyte is 10**9 bytes."""

    run_dir: Path
    model_path: str | Path  # a folder, or a name on the Hugging Face hub
    train_file: Path
    val_file: Path
    train_batch_size: int  # in prompts, as in data.train_batch_size
    max_prompt_length: int
    max_response_length: int
    memory_gb: float  # what must be available, as must the next two
    disk_gb: float
    shared_memory_gb: float
    chat_template_kwargs: Mapping[str, object] = field(default_factory=dict)  # data.apply_chat_template_kwargs
    offline: bool = field(default_factory=hub_is_offline)


@dataclass(frozen=True)
class Preflight:
    """What the checks learned. ``notes`` are sentences for the user: what verl will drop, what will be downloaded."""

    train: PromptLengths
    val: PromptLengths
    notes: tuple[str, ...]


def check_run(settings: RunSettings) -> Preflight:
    """Check everything, the quick things first; the lock and left-over processes are the caller's.

    Raises:
        UserError: for the first thing that is wrong, naming it, what was expected and how to mend it, on one line.
    """
    check_python()
    check_versions()
    check_files(settings.train_file, settings.val_file, settings.train_batch_size)
    length = settings.max_prompt_length + settings.max_response_length
    model_note = check_model(settings.model_path, length, offline=settings.offline)
    check_disk(settings.run_dir, settings.disk_gb)
    check_shared_memory(settings.shared_memory_gb)
    check_memory(settings.memory_gb)
    train, val = check_prompt_lengths(
        settings.model_path,
        settings.train_file,
        settings.val_file,
        train_batch_size=settings.train_batch_size,
        max_prompt_length=settings.max_prompt_length,
        chat_template_kwargs=settings.chat_template_kwargs,
        offline=settings.offline,
    )
    return Preflight(train, val, tuple(note for note in (model_note, train.note, val.note) if note))
