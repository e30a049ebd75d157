"""A training run from its checks to its report: launching verl's own entry points, resuming, recording.

RUN_DIR/
  config.yaml     the resolved configuration          run.json      what, with what, where, when, and how it ended
  metrics.jsonl   verl's metrics of all attempts      metrics/      the same, a file for each attempt
  rollouts/  validation/                              checkpoints/  verl's, and best/
  logs/train.log  report.html  hydra/  tensorboard/  wandb/
"""

import os
import uuid
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from omegaconf import OmegaConf

from tooln1.config import missing_keys, validate
from tooln1.data.validate import validate_parquet
from tooln1.errors import UserError
from tooln1.files import write_text
from tooln1.preflight import check_model, hub_is_offline
from tooln1.processes import stop_left_over_processes
from tooln1.report import make_own_report
from tooln1.train import checkpoints, record
from tooln1.train.lock import RunLock
from tooln1.train.metrics import REWARD, validation_steps
from tooln1.train.process import run_stage
from tooln1.train.progress import MetricsCopy, all_of, follow, gather_metrics, progress_bar
from tooln1.train.settings import Settings
from tooln1.train.stopping import PREEMPTED, StopRequests
from tooln1.train.verl_command import train_command, train_environment, trainer_environment

# How long a run is.
_LENGTH = ("total_training_steps", "total_epochs")


def dry_run(settings: Settings) -> str:
    """The resolved configuration as YAML, composed and checked as a run would have it. Raises UserError."""
    validate(settings.composed)
    return OmegaConf.to_yaml(settings.composed, resolve=True)


def train(settings: Settings) -> int:
    """Train, from the newest usable checkpoint on if there is one.

    Returns:
        The exit code: 0, or PREEMPTED if the run was asked to stop and its checkpoint is saved.

    Raises:
        UserError: something that the user can mend, before anything heavy starts.
        StageError: verl ended with an error.
    """
    missing = missing_keys(settings.composed)
    if missing:
        raise UserError(f"{', '.join(missing)}: missing; set MODEL_PATH, TRAIN_FILE and VAL_FILE, or {missing[0]}=…")
    with RunLock(settings.folder):
        made_of = _made_of(settings)
        record.refuse_another(settings.folder, made_of)
        stop_left_over_processes(settings.folder)
        _check_inputs(settings)
        step = _resume_step(settings)
        if _is_finished(settings, step):
            print(f"{settings.folder}: finished already, at step {step}; a larger trainer.total_epochs goes on")
            return 0
        validate(settings.composed)
        write_text(settings.folder / "config.yaml", OmegaConf.to_yaml(settings.composed, resolve=True))
        return _attempt(settings, made_of, step)


def _attempt(settings: Settings, made_of: dict[str, Any], step: int | None) -> int:
    folder, trainer = settings.folder, settings.composed.trainer
    metrics = _new_metrics_file(folder, step or 0)
    variables = trainer_environment(settings, metrics, _wandb_id(folder))
    command = train_command(settings, variables, validate_first=_owes_validation(settings, step or 0))
    attempt = {
        "command": record.command_line(),
        "overrides": list(settings.overrides),
        "verl_command": command,
        "resumed_from": step,
        **{key: trainer[key] for key in _LENGTH},
    }
    record.begin(folder, made_of, attempt)
    if step:
        print(f"going on from step {step}", flush=True)
    outcome = "failed"
    try:
        with StopRequests(settings.checkpoints, settings.saves_when_stopped) as requests:
            _run(settings, command, train_environment(settings, variables), metrics, step or 0)
            outcome = "preempted" if requests.was_answered else "finished"
    except SystemExit as stop:
        outcome = "preempted" if stop.code == PREEMPTED else "stopped"
        raise
    except KeyboardInterrupt:
        outcome = "stopped"
        raise
    finally:
        stop_left_over_processes(folder, patience=5)
        _rotate_sft(settings)
        record.end(folder, outcome, step=checkpoints.tracked_step(settings.checkpoints))
    make_own_report(settings.folder)
    _say_where(settings, outcome)
    return PREEMPTED if outcome == "preempted" else 0


def _rotate_sft(settings: Settings) -> None:
    """verl's SFT trainer forgets the checkpoints of earlier attempts; for PPO, LongRunTrainer sees to them."""
    step = checkpoints.tracked_step(settings.checkpoints)
    if settings.is_sft and settings.composed.trainer.max_ckpt_to_keep and step:
        checkpoints.prune(settings.checkpoints, settings.composed.trainer.max_ckpt_to_keep, step)


def _run(settings: Settings, command: list[str], environment: dict[str, str], metrics: Path, step: int) -> None:
    name, key, value = ("SFT", "train/loss", "loss") if settings.is_sft else ("GRPO", REWARD, "reward")
    copy = MetricsCopy(metrics, settings.folder / "metrics.jsonl")
    with progress_bar(name, _total_steps(settings), value, step) as bar:
        watch = all_of(copy, follow(metrics, bar, key))
        run_stage(command, environment, settings.folder / "logs" / "train.log", watch)


def _total_steps(settings: Settings) -> int:
    """The steps of the run; without a number in the settings, as many as the rows allow if verl drops none."""
    config = settings.composed
    if config.trainer.total_training_steps:
        return config.trainer.total_training_steps
    rows = sum(pq.read_metadata(name).num_rows for name in _named(config.data.train_files))
    return rows // config.data.train_batch_size * config.trainer.total_epochs


def _made_of(settings: Settings) -> dict[str, Any]:
    config = settings.composed
    model = config.model.path if settings.is_sft else config.actor_rollout_ref.model.path
    files = config.data.train_files
    return {
        "config": settings.config,
        "model_path": str(model),
        "train_files": [files] if isinstance(files, str) else list(files),
    }


def _check_inputs(settings: Settings) -> None:
    """The files and the model, and what the logs would say too late. Raises UserError."""
    config = settings.composed
    if settings.is_sft:
        for name in _named(config.data.train_files) + _named(config.data.val_files):
            if not Path(name).is_file():
                raise UserError(f"{name}: no such file; expected a parquet file, as data_prep/sft.py writes it")
        check_model(config.model.path, config.data.max_length, offline=hub_is_offline())
        return
    rows = sum(validate_parquet(Path(name)) for name in _named(config.data.train_files))
    for name in _named(config.data.val_files):
        validate_parquet(Path(name))
    if rows < config.data.train_batch_size:
        raise UserError(
            f"{config.data.train_files}: {rows} rows, fewer than the {config.data.train_batch_size} of one batch; "
            f"prepare more rows or lower data.train_batch_size"
        )
    length = config.data.max_prompt_length + config.data.max_response_length
    note = check_model(config.actor_rollout_ref.model.path, length, offline=hub_is_offline())
    if note:
        print(note, flush=True)
    save, test = config.trainer.save_freq, config.trainer.test_freq
    if save > 0 and test > 0 and test % save:
        print(
            f"trainer.test_freq={test} is no multiple of trainer.save_freq={save}: what is validated without a "
            f"checkpoint cannot become the best one",
            flush=True,
        )


def _named(files: Any) -> list[str]:
    if not files:
        return []
    return [files] if isinstance(files, str) else list(files)


def _resume_step(settings: Settings) -> int | None:
    """The step that verl will resume from, its checkpoint checked and others set aside. Raises UserError."""
    trainer, folder = settings.composed.trainer, settings.checkpoints
    if trainer.resume_mode == "disable":
        if checkpoints.steps(folder):
            raise UserError(
                f"{folder}: holds checkpoints, and trainer.resume_mode=disable would mix a new run with them; "
                f"choose another RUN_DIR"
            )
        return None
    if trainer.resume_mode == "resume_path":
        source = Path(str(trainer.resume_from_path))
        fault = checkpoints.find_fault(source) if source.is_dir() else "no such folder"
        if fault or not source.name.removeprefix("global_step_").isdigit():
            raise UserError(f"trainer.resume_from_path={source}: {fault or 'expected a folder global_step_<N>'}")
        return int(source.name.removeprefix("global_step_"))
    choice = checkpoints.choose(folder, settings.verifies_fully)
    for note in choice.notes:
        print(note, flush=True)
    if choice.step is not None:
        _check_world_size(settings, checkpoints.folder_of(folder, choice.step))
    return choice.step


def _check_world_size(settings: Settings, folder: Path) -> None:
    trainer = settings.composed.trainer
    wrote, has = checkpoints.world_size(folder), trainer.nnodes * trainer.n_gpus_per_node
    if wrote is not None and wrote != has:
        raise UserError(
            f"{folder}: saved by {wrote} ranks, this run has {has} (trainer.nnodes × trainer.n_gpus_per_node), and "
            f"verl resumes with as many only; export it and start another run from the model"
        )


def _is_finished(settings: Settings, step: int | None) -> bool:
    """Whether the last attempt went to its end and this one asks for no more."""
    last, trainer = record.read(settings.folder), settings.composed.trainer
    if step is None or last.get("exit") != "finished":
        return False
    return all(last.get(key) == trainer[key] for key in _LENGTH)


def _owes_validation(settings: Settings, step: int) -> bool:
    """Whether the checkpoint that the run goes on from was to be validated and was not.

    verl saves a step before it validates it, so a run that was stopped in between still owes that.
    """
    if settings.is_sft or step in validation_steps(settings.folder / "validation"):
        return False
    test = settings.composed.trainer.test_freq
    return step == 0 or (test > 0 and (step % test == 0 or step == _total_steps(settings)))


def _new_metrics_file(folder: Path, step: int) -> Path:
    """The file for verl's logger, which starts it anew with every process; metrics.jsonl keeps the steps up to here."""
    attempts = folder / "metrics"
    attempts.mkdir(parents=True, exist_ok=True)
    gather_metrics(attempts, folder / "metrics.jsonl", step)
    return attempts / f"attempt-{len(list(attempts.glob('attempt-*.jsonl'))):03d}.jsonl"


def _wandb_id(folder: Path) -> str:
    """The same for all attempts, so that they are one run there."""
    path = folder / "wandb_run_id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex[:12])
    return path.read_text().strip()


def _say_where(settings: Settings, outcome: str) -> None:
    step, best = checkpoints.tracked_step(settings.checkpoints), checkpoints.read_best(settings.checkpoints)
    if outcome == "preempted":
        saved = f"step {step} is saved" if step else "before the first step"
        print(f"stopped as asked, {saved}; the same command goes on from there")
        return
    print(f"finished; the last checkpoint is that of step {step}")
    if best:
        print(f"best            step {best['step']}, validation accuracy {best['accuracy']:.3f}")
    for name in ("report.html", "metrics.jsonl", "logs/train.log"):
        if (settings.folder / name).exists():
            print(f"{Path(name).stem:<15} {settings.folder / name}")
    print(f"as a model      tooln1 export {os.path.relpath(settings.folder)} --output DIR")
