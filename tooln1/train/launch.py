"""A training run from its checks to its last checkpoint: launching verl's own entry points, resuming, recording."""

import dataclasses
import os
import shlex
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from omegaconf import OmegaConf

from tooln1.checks import OPENS_THINK, QUICK, WITH_VERL, Check, UpcomingRun, refuse_faults
from tooln1.checks.same_run import Change, find_changes
from tooln1.config import validate
from tooln1.errors import ProcessError, UserError
from tooln1.files import write_text
from tooln1.processes import stop_left_over_processes
from tooln1.run_folder import REWARD, RunFolder, checkpoint_step, checkpoint_steps, tracked_step
from tooln1.settings import Settings
from tooln1.train import checkpoints
from tooln1.train.lock import RunLock
from tooln1.train.metrics import MetricsCopy, follow, gather_metrics, new_metrics_file, progress_bar
from tooln1.train.record import LENGTH, Record
from tooln1.train.stage import MemoryWatch, run_stage
from tooln1.train.stopping import PREEMPTED, StopRequests
from tooln1.train.verl_command import train_command, train_environment, trainer_environment

RESUME = "the same command resumes from the last checkpoint"


def dry_run(settings: Settings) -> str:
    """Return the resolved configuration as YAML, composed and validated as for a run. Raises UserError."""
    validate(settings.composed)
    return OmegaConf.to_yaml(settings.composed, resolve=True)


def check(run: UpcomingRun, checks: Sequence[Check] = QUICK + WITH_VERL) -> None:
    """Run checks, and print their warnings. Raises UserError for faults."""
    for warning in refuse_faults(run, checks):
        print(warning, flush=True)


def train(settings: Settings) -> int:
    """Train, from the newest usable checkpoint if there is one.

    Returns:
        The exit code: 0, or PREEMPTED if the run was asked to stop and has saved its checkpoint.

    Raises:
        UserError: something that the user can mend, before anything heavy starts.
        ProcessError: verl failed.
        KeyboardInterrupt: with a message for the user.
    """
    folder = settings.folder
    with RunLock(folder.path):
        record = Record(folder)
        stop_left_over_processes(folder.path)
        run = UpcomingRun(settings)
        check(run, QUICK)
        changes = find_changes(settings)  # accepted: check() refuses others
        step = tracked_step(settings.checkpoints)
        if step is not None and not _owes_validation(settings, step) and _is_finished(settings, record, step):
            more = "a larger trainer.total_epochs or trainer.total_training_steps continues it"
            if changes:
                raise UserError(
                    f"{folder.path}: complete at step {step}, no step left for the changed settings; {more}"
                )
            print(f"{folder.path}: finished already, at step {step}; {more}")
            return 0
        check(run, WITH_VERL)
        settings = _for_the_prompts(run)
        step = _resume_step(settings) or 0
        return _attempt(settings, record, step, changes)


def _for_the_prompts(run: UpcomingRun) -> Settings:
    """Return the settings; if the prompts end with an open <think>, the reward gets to know it."""
    if not (run.opens_think and run.has_our_reward) or run.read(OPENS_THINK) is not None:
        return run.settings
    return dataclasses.replace(run.settings, overrides=(*run.settings.overrides, f"++{OPENS_THINK}=true"))


def _attempt(settings: Settings, record: Record, step: int, changes: Sequence[Change]) -> int:
    folder = settings.folder
    metrics = new_metrics_file(folder)
    gather_metrics(folder, step)
    variables = trainer_environment(settings, metrics, _wandb_id(folder))
    owes_validation = _owes_validation(settings, step)
    only_validate = owes_validation and 0 < step == settings.composed.trainer.total_training_steps
    command = train_command(settings, variables, validate_first=owes_validation, only_validate=only_validate)
    record.begin(settings, command, step, changes)
    # After the record, which tells how these settings differ from those in the file.
    write_text(folder.config, OmegaConf.to_yaml(settings.composed, resolve=True))
    if step:
        print(f"resuming from step {step}", flush=True)
    outcome = "failed"
    try:
        with StopRequests(settings.checkpoints, settings.is_long_run) as requests:
            _run(settings, record, command, train_environment(settings, variables), metrics, step)
            outcome = "preempted" if requests.was_answered else "finished"
    except SystemExit as stop:
        outcome = "preempted" if stop.code == PREEMPTED else "stopped"
        raise
    except KeyboardInterrupt:
        outcome = "stopped"
        raise KeyboardInterrupt(f"stopped; {RESUME}") from None
    except ProcessError as error:
        checkpoints.refuse_full_disk(settings.checkpoints, str(error))
        raise
    finally:
        stop_left_over_processes(folder.path, patience=5)
        _rotate_sft(settings)
        record.end(outcome, step=tracked_step(settings.checkpoints))
    _print_outcome(settings, outcome)
    return PREEMPTED if outcome == "preempted" else 0


def _run(
    settings: Settings, record: Record, command: list[str], environment: dict[str, str], metrics: Path, step: int
) -> None:
    name, key, value = ("SFT", "train/loss", "loss") if settings.is_sft else ("GRPO", REWARD, "reward")
    started = time.monotonic()
    copy = MetricsCopy(metrics, settings.folder.metrics)
    with MemoryWatch() as memory, progress_bar(name, _total_steps(settings), value, step) as bar:
        shown = follow(metrics, bar, key)

        def watch() -> None:
            copy()
            if shown() and not step:
                record.note_once("seconds_to_first_step", time.monotonic() - started)

        try:
            run_stage(command, environment, settings.folder.log, watch, f"{RESUME[0].upper()}{RESUME[1:]}.")
        finally:
            record.note_peak("peak_memory_gb", memory.peak_gb)


def _rotate_sft(settings: Settings) -> None:
    """verl's SFT trainer forgets the checkpoints of earlier attempts; for PPO, LongRunTrainer rotates them."""
    step = tracked_step(settings.checkpoints)
    if settings.is_sft and settings.composed.trainer.max_ckpt_to_keep and step:
        checkpoints.prune(settings.checkpoints, settings.composed.trainer.max_ckpt_to_keep, step)


def _total_steps(settings: Settings) -> int:
    """Return the steps of the run; without a number in the settings, as many as the rows allow if verl drops none."""
    config = settings.composed
    if config.trainer.total_training_steps:
        return config.trainer.total_training_steps
    rows = sum(pq.read_metadata(name).num_rows for name in settings.train_files)
    return rows // config.data.train_batch_size * config.trainer.total_epochs


def _resume_step(settings: Settings) -> int | None:
    """Return the step that verl will resume from, after setting broken checkpoints aside. Raises UserError."""
    trainer, folder = settings.composed.trainer, settings.checkpoints
    if trainer.resume_mode == "disable":
        if checkpoint_steps(folder):
            raise UserError(
                f"{folder}: holds checkpoints, and trainer.resume_mode=disable would mix a new run with them; "
                f"choose another run folder"
            )
        return None
    if trainer.resume_mode == "resume_path":
        source = Path(str(trainer.resume_from_path))
        fault = checkpoints.find_fault(source) if source.is_dir() else "no such folder"
        step = checkpoint_step(source)
        if fault or step is None:
            raise UserError(f"trainer.resume_from_path={source}: {fault or 'expected a folder global_step_<N>'}")
        return step
    choice = checkpoints.choose(folder, settings.verify_checkpoint)
    for note in choice.notes:
        print(note, flush=True)
    return choice.step


def _is_finished(settings: Settings, record: Record, step: int) -> bool:
    """True if the last attempt reached its end and this one asks for no more."""
    last, trainer = record.read(), settings.composed.trainer
    if last.get("exit") == "finished" and all(last.get(key) == trainer[key] for key in LENGTH):
        return True
    return bool(trainer.total_training_steps) and step >= trainer.total_training_steps


def _owes_validation(settings: Settings, step: int) -> bool:
    """True if the checkpoint at ``step`` still needs its validation: verl saves a step before it validates it."""
    if settings.is_sft or step in settings.folder.validated_steps():
        return False
    test = settings.composed.trainer.test_freq
    return step == 0 or (test > 0 and (step % test == 0 or step == _total_steps(settings)))


def _wandb_id(folder: RunFolder) -> str:
    """Return the same id for all attempts, so that they are one run on wandb."""
    path = folder.path / "wandb_run_id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex[:12])
    return path.read_text().strip()


def _print_outcome(settings: Settings, outcome: str) -> None:
    folder, step = settings.folder, tracked_step(settings.checkpoints)
    if outcome == "preempted":
        saved = f"step {step} is saved" if step else "before the first step"
        print(f"stopped as requested, {saved}; {RESUME}")
        return
    if step is None:  # with trainer.val_only
        print("finished        no checkpoint was written")
        return
    print(f"finished        step {step} is the last checkpoint")
    if best := checkpoints.read_best(settings.checkpoints):
        print(f"best            step {best['step']}, validation accuracy {best['accuracy']:.3f}")
    for path in (folder.metrics, folder.log):
        if path.exists():
            print(f"{path.stem:<15} {path}")
    print(f"as a model      {shlex.join(['tooln1', 'export', os.path.relpath(folder.path), '--output', 'DIR'])}")
