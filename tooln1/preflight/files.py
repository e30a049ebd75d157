"""The parquet files of a run: their rows, and how many prompts verl is going to drop for their length."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tooln1.data.validate import validate_parquet
from tooln1.errors import UserError

_ROWS_SHOWN = 5


@dataclass(frozen=True)
class PromptLengths:
    """The prompts of one file, counted in tokens; rows are counted from 0."""

    path: Path
    rows: int
    limit: int
    longest: int  # of the prompts that the chat template accepts
    too_long: tuple[int, ...]  # the rows that verl drops for their length
    refused: tuple[int, ...]  # the rows that the chat template refuses: verl drops them as well
    refusal: str  # what the chat template said of the first of them
    mean: float = 0.0  # as is what follows, of the prompts that the chat template accepts
    percentiles: Mapping[int, int] = field(default_factory=dict)  # tokens that so many in a hundred do not exceed

    @property
    def dropped(self) -> int:
        return len(self.too_long) + len(self.refused)

    @property
    def kept(self) -> int:
        return self.rows - self.dropped

    @property
    def note(self) -> str:
        """One sentence on what verl will drop; empty if it drops nothing."""
        parts = []
        if self.too_long:
            parts.append(
                f"{len(self.too_long)} longer than {self.limit} tokens ({_some_rows(self.too_long)}; "
                f"the longest has {self.longest})"
            )
        if self.refused:
            parts.append(f"{len(self.refused)} refused by the chat template ({_some_rows(self.refused)})")
        return f"{self.path}: verl drops {self.dropped} of {self.rows} prompts: {', '.join(parts)}" if parts else ""


def _some_rows(rows: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, rows[:_ROWS_SHOWN]))
    return f"row{'s' if len(rows) > 1 else ''} {shown}{', …' if len(rows) > _ROWS_SHOWN else ''}"


def check_files(train_file: Path, val_file: Path, train_batch_size: int) -> tuple[int, int]:
    """Check both files row by row, and return their numbers of rows.

    Raises:
        UserError: as validate_parquet does, and if the training file has fewer rows than one batch takes.
    """
    rows = validate_parquet(train_file), validate_parquet(val_file)
    if rows[0] < train_batch_size:
        raise UserError(
            f"{train_file}: {rows[0]} rows, fewer than the {train_batch_size} of one batch; "
            f"prepare more rows or lower train_batch_size"
        )
    return rows


def check_prompt_lengths(
    model_path: str | Path,
    train_file: Path,
    val_file: Path,
    *,
    train_batch_size: int,
    max_prompt_length: int,
    chat_template_kwargs: Mapping[str, object] | None = None,
    offline: bool = False,
) -> tuple[PromptLengths, PromptLengths]:
    """Count every prompt with the model's own tokenizer and chat template, as data.filter_overlong_prompts does.

    Raises:
        UserError: if the tokenizer or its chat template does not work, if fewer training prompts than one batch takes
            would be left, or no validation prompt.
    """
    train, val = measure_prompt_lengths(
        model_path,
        [train_file, val_file],
        max_prompt_length=max_prompt_length,
        chat_template_kwargs=chat_template_kwargs,
        offline=offline,
    )
    for lengths, needed, why in ((train, train_batch_size, "one training batch takes"), (val, 1, "validation takes")):
        if len(lengths.refused) == lengths.rows:
            raise UserError(
                f"{model_path}: the chat template refuses the prompts of {lengths.path} ({lengths.refusal}); "
                f"take an instruction-tuned model, whose template knows system, user, assistant and tool messages"
            )
        if lengths.kept < needed:
            raise UserError(
                f"{lengths.path}: of {lengths.rows} prompts only {lengths.kept} fit into {max_prompt_length} tokens "
                f"(the longest has {lengths.longest}), and {why} at least {needed}; raise max_prompt_length or "
                f"shorten the prompts"
            )
    return train, val


def measure_prompt_lengths(
    model_path: str | Path,
    paths: Sequence[Path],
    *,
    max_prompt_length: int,
    chat_template_kwargs: Mapping[str, object] | None = None,
    offline: bool = False,
) -> list[PromptLengths]:
    """Count every prompt of the files with the model's own tokenizer and chat template.

    Raises:
        UserError: if the tokenizer or its chat template does not work.
    """
    request = {
        "model_path": str(model_path),
        "files": [str(path) for path in paths],
        "limit": max_prompt_length,
        "chat_template_kwargs": dict(chat_template_kwargs or {}),
    }
    return [
        PromptLengths(
            path=path,
            rows=found["rows"],
            limit=max_prompt_length,
            longest=found["longest"],
            too_long=tuple(found["too_long"]),
            refused=tuple(found["refused"]),
            refusal=found["refusal"],
            mean=found["mean"],
            percentiles={int(share): length for share, length in found["percentiles"].items()},
        )
        for path, found in zip(paths, _measure(request, offline), strict=True)
    ]


def _measure(request: dict, offline: bool) -> list[dict]:
    """Count in a process of its own, which can leave torch out (4 s of import) and gives its memory back."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true", "TRANSFORMERS_VERBOSITY": "error"}
    # The platform is of no use there, and would import torch.
    environment.pop("VERL_PLATFORM", None)
    if offline:
        environment["HF_HUB_OFFLINE"] = "1"
    child = subprocess.run(
        [sys.executable, "-m", "tooln1.preflight.lengths"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=environment,
    )
    lines = child.stdout.splitlines()
    if child.returncode != 0 or not lines:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(
            f"{request['model_path']}: counting the prompts' tokens failed with exit code {child.returncode}: {last}"
        )
    answer = json.loads(lines[-1])
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["files"]
