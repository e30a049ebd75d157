"""The model card: what the model is, how and on what it was trained, what it achieves, and how to use it."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined

from tooln1.chat_template import read_chat_template, split_chat_template
from tooln1.config import plain
from tooln1.data.sources import is_on_hub
from tooln1.files import read_json, read_jsonl, read_text, write_text
from tooln1.report.evaluation import read_evaluations
from tooln1.run_folder import REWARD, Run, RunFolder, read_scalars
from tooln1.train.checkpoints import read_best

# The settings that a reader compares between runs, by verl's keys.
_SETTINGS = {
    "GRPO": (
        "data.train_batch_size",
        "actor_rollout_ref.rollout.n",
        "actor_rollout_ref.rollout.temperature",
        "actor_rollout_ref.actor.optim.lr",
        "actor_rollout_ref.actor.kl_loss_coef",
        "actor_rollout_ref.actor.kl_loss_type",
        "actor_rollout_ref.actor.entropy_coeff",
        "actor_rollout_ref.model.lora_rank",
        "data.max_prompt_length",
        "data.max_response_length",
        "trainer.total_epochs",
        "trainer.total_training_steps",
        "trainer.nnodes",
        "trainer.n_gpus_per_node",
        "actor_rollout_ref.rollout.name",
        "reward.custom_reward_function.path",
        "reward.custom_reward_function.reward_kwargs",
    ),
    "SFT": ("data.train_batch_size", "optim.lr", "data.max_length", "trainer.total_epochs", "trainer.n_gpus_per_node"),
}
_CURVE = "curves.png"
_ROWS = 12

Curve = dict[int, float]


def write_card(folder: Path, run: Run, step: int, name: str) -> None:
    """Write README.md, with the hub's metadata at its head, and the image of the curves beside it.

    Args:
        folder: the model's folder.
        run: the run.
        step: the step of the model's checkpoint.
        name: the model's name.
    """
    environment = Environment(
        loader=PackageLoader("tooln1.export", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    method = "" if not run.config else "SFT" if run.is_sft else "GRPO"
    base_model = str(run.setting("model.path" if run.is_sft else "actor_rollout_ref.model.path", ""))
    licence = _licence(base_model)
    train_files = [Path(path) for path in run.listed("data.train_files")]
    sources = _count_sources(train_files)
    data_sets = sorted(_hub_data_sets(train_files))
    rewards, accuracies = read_scalars(run).get(REWARD, {}), _accuracies(run)
    best = read_best(RunFolder(run.folder).checkpoints)
    text = environment.get_template("model_card.md.jinja").render(
        metadata=_metadata(name, base_model, licence, method, data_sets, accuracies.get(step)),
        name=name,
        step=step,
        writes_prompt=bool(split_chat_template(read_chat_template(folder))[0]),
        is_best=best is not None and best["step"] == step,
        method=method,
        base_model=_model_name(base_model),
        licence=licence,
        sources=sources,
        data_sets=data_sets,
        train_files=[path.name for path in train_files],
        stats=_stats(train_files),
        settings=[
            (key, plain(_public(value))) for key in _SETTINGS.get(method, ()) if (value := run.setting(key)) is not None
        ],
        curve=_CURVE if draw_curves(rewards, accuracies, folder / _CURVE) else None,
        rows=_curve_rows(rewards, accuracies),
        evaluations=read_evaluations(run),
        record=RunFolder(run.folder).read_record(),
        changes=_changes(run),
    )
    write_text(folder / "README.md", text)


def is_hub_name(name: str) -> bool:
    """Return whether a model's name is one of the hub, such as Qwen/Qwen2.5-7B-Instruct, and no folder here."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name and not Path(name).exists()


def draw_curves(rewards: Curve, accuracies: Curve, path: Path) -> bool:
    """Draw the training reward and the validation accuracy by step as a PNG file; False if there is nothing to draw."""
    if not rewards and not accuracies:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot(xlabel="step")
    if rewards:
        axes.plot(list(rewards), list(rewards.values()), label="training reward", linewidth=1)
    if accuracies:
        axes.plot(list(accuracies), list(accuracies.values()), "o-", label="validation accuracy", markersize=4)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    # The version of the drawing library is left out, so that the same run gives the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return True


def _metadata(
    name: str, base_model: str, licence: str | None, method: str, data_sets: list[str], accuracy: float | None
) -> str:
    """Return the YAML between the dashes; what is not known is left out."""
    from huggingface_hub import EvalResult, ModelCardData

    results = None
    if accuracy is not None:
        rows = {"dataset_type": "validation", "dataset_name": "Validation rows of the run"}
        results = [EvalResult("text-generation", **rows, metric_type="accuracy", metric_value=round(accuracy, 4))]
    return ModelCardData(
        base_model=base_model if is_hub_name(base_model) else None,
        license=licence,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["tool-calling", "function-calling", "tool-n1", "verl", *filter(None, [method.lower()])],
        datasets=data_sets or None,
        model_name=name if results else None,
        eval_results=results,
    ).to_yaml()


def _licence(base_model: str) -> str | None:
    """Return the licence in the base model's own card, None if the model is no folder with a card."""
    card = Path(base_model) / "README.md"
    if not base_model or not card.is_file():
        return None
    from huggingface_hub import ModelCard

    try:
        return ModelCard.load(card, ignore_metadata_errors=True).data.license
    except (ValueError, OSError):
        return None


def _model_name(path: str) -> str:
    """Return a hub name as it is, and only the last part of a folder's path: the rest is private."""
    return path if is_hub_name(path) else Path(path).name or "the model it was trained from"


def _count_sources(train_files: list[Path]) -> Counter[str]:
    """Count the rows of the training files by data_source; files that are gone count nothing."""
    counts: Counter[str] = Counter()
    for path in train_files:
        if path.is_file() and "data_source" in pq.read_schema(path).names:
            counts.update(pq.read_table(path, columns=["data_source"])["data_source"].to_pylist())
    return counts


def _stats(train_files: list[Path]) -> list[tuple[str, str]]:
    """Return (folder's name, text) of every stats.json beside a training file."""
    paths = dict.fromkeys(path.with_name("stats.json") for path in train_files)
    return [(path.parent.name, read_text(path).strip()) for path in paths if path.is_file()]


def _hub_data_sets(files: list[Path]) -> set[str]:
    """Return the data sets of the hub that the rows come from, as far as the stats.json of each step still tells.

    The rows' data_source does not tell: a user's own rows may be called like a published data set.
    """
    found, seen, waiting = set(), set(), list(files)
    while waiting:
        place = waiting.pop().resolve()
        path = (place if place.is_dir() else place.parent) / "stats.json"
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        stats = read_json(path)
        found |= set(filter(is_on_hub, str(stats.get("source")).split(", ")))
        waiting += map(Path, stats.get("inputs") or stats.get("input") or ())
    return found


def _accuracies(run: Run) -> Curve:
    """Return the validation accuracy over all rows by step, from verl's dumps."""
    found = {}
    for step, path in run.validation.items():
        scores = [line.value["acc"] for line in read_jsonl(path, Counter()) if line.value.get("acc") is not None]
        if scores:
            found[step] = sum(scores) / len(scores)
    return found


def _curve_rows(rewards: Curve, accuracies: Curve) -> list[tuple[int, float | None, float | None]]:
    """Return (step, reward, accuracy) of the validated steps, or of evenly spaced ones if none was validated."""
    steps = sorted(accuracies or rewards)
    if len(steps) > _ROWS:
        steps = sorted({steps[round(place * (len(steps) - 1) / (_ROWS - 1))] for place in range(_ROWS)})
    return [(step, rewards.get(step), accuracies.get(step)) for step in steps]


def _public(value: Any) -> Any:
    """Return a setting's value with only the last part of each absolute path: the rest is private."""
    if isinstance(value, list):
        return [_public(one) for one in value]
    return os.path.basename(value) if isinstance(value, str) and os.path.isabs(value) else value


def _changes(run: Run) -> list[tuple[int, str, str, str]]:
    """Return (step, key, old, new) of the settings that were changed during the run."""
    # A key is a setting, or "content of" a file's path.
    return [
        (
            one["step"],
            "".join(map(_public, one["key"].rpartition("content of "))),
            *(plain(_public(one[at])) for at in ("old", "new")),
        )
        for one in RunFolder(run.folder).read_record().get("changes", [])
    ]
