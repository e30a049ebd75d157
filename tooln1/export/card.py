"""The model card: what the model is, what it was made of and how, what it achieves, and how to use it."""

from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.export.sources import RunSources, pretty
from tooln1.files import write_text

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
        "reward.custom_reward_function.reward_kwargs",
    ),
    "SFT": ("data.train_batch_size", "optim.lr", "data.max_length", "trainer.total_epochs", "trainer.n_gpus_per_node"),
}
_CURVE = "curves.png"
_ROWS = 12


def write_card(folder: Path, sources: RunSources, step: int, name: str) -> None:
    """Write README.md, with the hub's metadata at its head, and the curves' image beside it.

    Args:
        folder: the model's folder.
        sources: the run.
        step: the step whose checkpoint the model is.
        name: the model's name.

    Raises:
        UserError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise UserError("the model card needs jinja2: pip install 'tooln1[report]'") from None

    environment = Environment(
        loader=PackageLoader("tooln1.export", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    has_image = draw_curves(sources.rewards, sources.accuracies, folder / _CURVE)
    text = environment.get_template("model_card.md.jinja").render(
        metadata=_metadata(sources, step, name),
        name=name,
        step=step,
        sources=sources,
        base_model=_model_name(sources.base_model),
        settings=_settings(sources),
        curve=_CURVE if has_image else None,
        rows=_curve_rows(sources),
    )
    write_text(folder / "README.md", text)


def _metadata(sources: RunSources, step: int, name: str) -> str:
    """The YAML between the dashes; what is not known is left out."""
    from huggingface_hub import EvalResult, ModelCardData

    results = []
    if step in sources.accuracies:
        accuracy = round(sources.accuracies[step], 4)
        results.append(_result(EvalResult, "validation", "Validation rows of the run", accuracy))
    return ModelCardData(
        base_model=sources.base_model if is_hub_name(sources.base_model) else None,
        license=sources.base_licence,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["tool-calling", "function-calling", "tool-n1", "verl", *filter(None, [sources.method.lower()])],
        datasets=sources.hub_data_sets or None,
        model_name=name if results else None,
        eval_results=results or None,
    ).to_yaml()


def _result(kind: Any, dataset_type: str, dataset_name: str, accuracy: float) -> Any:
    return kind(
        task_type="text-generation",
        dataset_type=dataset_type,
        dataset_name=dataset_name,
        metric_type="accuracy",
        metric_value=accuracy,
    )


def _settings(sources: RunSources) -> list[tuple[str, str]]:
    keys = _SETTINGS.get(sources.method, ())
    return [(key, pretty(sources.setting(key))) for key in keys if sources.setting(key) is not None]


def is_hub_name(name: str) -> bool:
    """Whether a model's name is one of the Hugging Face hub, such as Qwen/Qwen2.5-7B-Instruct, and no folder here."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name and not Path(name).exists()


def _model_name(path: str) -> str:
    """A name on the hub as it is; of a folder its name only, for the rest is nobody's business."""
    return path if is_hub_name(path) else Path(path).name or "the model it was trained from"


def _curve_rows(sources: RunSources) -> list[tuple[int, float | None, float | None]]:
    """(step, reward, accuracy) of the validated steps, or of evenly spaced ones if none was."""
    steps = sorted(sources.accuracies or sources.rewards)
    if len(steps) > _ROWS:
        steps = sorted({steps[round(place * (len(steps) - 1) / (_ROWS - 1))] for place in range(_ROWS)})
    return [(step, sources.rewards.get(step), sources.accuracies.get(step)) for step in steps]


def draw_curves(rewards: dict[int, float], accuracies: dict[int, float], path: Path) -> bool:
    """Draw the training reward and the validation accuracy by step as a PNG file; False if there is nothing to draw."""
    if not rewards and not accuracies:
        return False
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot(xlabel="step")
    if rewards:
        axes.plot(list(rewards), list(rewards.values()), label="training reward", linewidth=1)
    if accuracies:
        axes.plot(list(accuracies), list(accuracies.values()), "o-", label="validation accuracy", markersize=4)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    # Without the drawing library's version, so that the same run gives the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return True
