"""The CPU quickstart: from data rows to a trained, merged checkpoint that answers, with verl's GRPO.

    bash examples/run_tiny_cpu_grpo.sh [HYDRA_OVERRIDES]

Everything stands in the run folder: what is complete there is not done again, so the same command resumes a run that
was stopped, from GRPO's last checkpoint on.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tooln1.config import compose
from tooln1.errors import UserError
from tooln1.export.merge import note_template
from tooln1.platforms.cpu.environment import cpu_environment
from tooln1.preflight import RunSettings, check_files, check_model, check_run, hub_is_offline
from tooln1.processes import stop_left_over_processes
from tooln1.report import make_own_report
from tooln1.tiny import stages
from tooln1.tiny.stages import Run
from tooln1.tiny.summary import print_summary, summarize, write_summary
from tooln1.train import record
from tooln1.train.checkpoints import choose
from tooln1.train.lock import RunLock
from tooln1.train.metrics import REWARD, validation_steps
from tooln1.train.process import MemoryWatch, StageError, run_stage
from tooln1.train.progress import all_of, follow, progress_bar
from tooln1.train.verl_command import one_rank_environment

# Measured on two cores: GRPO's processes together use 4.1 GB; data, checkpoints and logs take less than a GB.
MEMORY_GB, DISK_GB, SHARED_MEMORY_GB = 6.0, 2.0, 0.4


class Clock:
    """The seconds that a run took over all its attempts, kept in ``clock.json`` because an attempt may be killed."""

    def __init__(self, path: Path):
        self.path = path
        self.values = json.loads(path.read_text()) if path.exists() else {}
        self._started = time.monotonic()
        self._before = self.values.get("wall_seconds", 0.0)
        self._saved = 0.0

    def tick(self, **values: float) -> None:
        """Bring the file up to date, at most once a second unless there is something to add."""
        now = time.monotonic()
        self.values |= values | {"wall_seconds": self._before + now - self._started}
        if values or now - self._saved > 1:
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text(json.dumps(self.values) + "\n")
            os.replace(temporary, self.path)
            self._saved = now


def prepare(run: Run, environment: dict[str, str], clock: Clock) -> None:
    """Build model and data and warm the model up, unless the run brings its own."""
    if run.is_tiny_world and not (run.folder / "warm_start" / "config.json").exists():
        _say("building the tiny model and its world")
        run_stage(stages.model_command(run), environment, run.logs / "prepare.log", clock.tick)
        run_stage(stages.data_command(run), environment, run.logs / "prepare.log", clock.tick)
        shutil.rmtree(run.folder / "sft", ignore_errors=True)
        metrics = run.metrics / "sft.jsonl"
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.unlink(missing_ok=True)
        sft = environment | one_rank_environment() | {"VERL_FILE_LOGGER_PATH": str(metrics)}
        with progress_bar("warm start", _sft_steps(run), "loss") as bar:
            watch = all_of(clock.tick, follow(metrics, bar, "train/loss"))
            run_stage(stages.sft_command(run), sft, run.logs / "warm_start.log", watch)
        stages.keep_warm_start(run)
    elif run.is_tiny_world is False and run.train_file is None and not run.train.exists():
        run_stage(stages.data_command(run), environment, run.logs / "prepare.log", clock.tick)


def train(run: Run, environment: dict[str, str], clock: Clock) -> None:
    """GRPO, from the last checkpoint if there is one."""
    total = int(run.config.trainer.total_training_steps)
    latest = stages.latest_checkpoint(run)
    done = int(latest.name.removeprefix("global_step_")) if latest else 0
    # verl saves the last step before it validates it: a run that was killed in between still owes its final accuracy.
    owes_validation = run.config.trainer.test_freq > 0 and done not in validation_steps(run.validation)
    if done >= total and not owes_validation:
        return
    if done:
        _say(f"resuming GRPO from step {done}")
    # What was made from an earlier checkpoint, when the run was shorter.
    shutil.rmtree(run.merged, ignore_errors=True)
    (run.folder / "replies.jsonl").unlink(missing_ok=True)
    attempt = run.metrics / f"attempt-{len(list(run.metrics.glob('attempt-*.jsonl'))):03d}.jsonl"
    attempt.parent.mkdir(parents=True, exist_ok=True)
    if done >= total:
        command = stages.validation_command(run)
    else:
        command = stages.grpo_command(run, val_before_train=0 not in validation_steps(run.validation))
    started = time.monotonic()
    with progress_bar("GRPO", total, "reward", done) as bar:

        def first_step() -> None:
            if "seconds_to_first_step" not in clock.values:
                clock.tick(seconds_to_first_step=time.monotonic() - started)

        watch = all_of(clock.tick, follow(attempt, bar, REWARD, first_step))
        run_stage(command, environment | {"VERL_FILE_LOGGER_PATH": str(attempt)}, run.logs / "grpo.log", watch)
    stop_left_over_processes(run.folder)


def finish(run: Run, environment: dict[str, str], clock: Clock) -> None:
    """Merge the last checkpoint and ask it."""
    if not (run.merged / "config.json").exists():
        _say("merging the checkpoint")
        target = run.folder / "merged.partial"
        shutil.rmtree(target, ignore_errors=True)
        run_stage(stages.merge_command(run, target), environment, run.logs / "merge.log", clock.tick)
        note_template(target, run.train)
        os.replace(target, run.merged)
    if not (run.folder / "replies.jsonl").exists():
        _say("asking the merged checkpoint through vLLM")
        run_stage(stages.generate_command(run), environment, run.logs / "generate.log", clock.tick)


def check(run: Run) -> None:
    """Everything that can be checked before something heavy starts. Raises UserError for the first thing wrong."""
    config = run.config
    settings = RunSettings(
        run_dir=run.folder,
        model_path=run.start_model,
        train_file=run.train,
        val_file=run.val,
        train_batch_size=config.data.train_batch_size,
        max_prompt_length=config.data.max_prompt_length,
        max_response_length=config.data.max_response_length,
        memory_gb=MEMORY_GB,
        disk_gb=DISK_GB,
        shared_memory_gb=SHARED_MEMORY_GB,
    )
    for note in check_run(settings).notes:
        _say(note)


def check_own_files(run: Run) -> None:
    """The checks of what the user brings: what is wrong with a file or a setting is said before anything is built."""
    batch = stages.whole_number(run.config, "data.train_batch_size")
    stages.whole_number(run.config, "trainer.total_training_steps")  # the time left is reckoned by it
    stages.whole_number(run.config, "trainer.save_freq")  # the last checkpoint is merged and asked
    if run.train_file:
        check_files(run.train, run.val, batch)
    if run.model_path:
        check_model(run.model_path, run.max_model_len, offline=hub_is_offline())


def execute(run: Run) -> None:
    """All stages in order. Raises UserError and StageError."""
    with RunLock(run.folder):
        record.refuse_another(run.folder, run.made_of)
        stop_left_over_processes(run.folder)
        environment, clock = cpu_environment(run.folder), Clock(run.folder / "clock.json")
        memory = MemoryWatch(clock.values.get("peak_memory_gb", 0.0))
        try:
            with memory:
                check_own_files(run)
                if run.is_tiny_world:
                    _check_before_building(run)
                # Only now: a mistyped path would bind the folder to a model or file that does not exist.
                record.remember(run.folder, run.made_of)
                with _recorded(run):
                    prepare(run, environment, clock)
                    check(run)
                    for note in choose(run.checkpoints).notes:
                        _say(note)
                    train(run, environment, clock)
                    finish(run, environment, clock)
        finally:
            clock.tick(peak_memory_gb=memory.peak_gb)
            stop_left_over_processes(run.folder)
        summary = summarize(run, clock.values)
        write_summary(run.folder / "summary.json", summary)
        make_own_report(run.folder)
        print_summary(run, summary)


@contextmanager
def _recorded(run: Run) -> Iterator[None]:
    """Notes in run.json with which versions, on what machine, from when to when, and how it ended."""
    record.begin(run.folder, run.made_of, {"command": record.command_line(), "overrides": list(run.overrides)})
    outcome = "stopped"
    try:
        yield
        outcome = "finished"
    finally:
        record.end(run.folder, outcome)


def _check_before_building(run: Run) -> None:
    from tooln1.preflight import check_disk, check_memory, check_python, check_shared_memory, check_versions

    check_python()
    check_versions()
    check_disk(run.folder, DISK_GB)
    check_shared_memory(SHARED_MEMORY_GB)
    check_memory(MEMORY_GB)


def _sft_steps(run: Run) -> int:
    batch = compose(stages.SFT, ()).data.train_batch_size
    return json.loads((run.folder / "world" / "stats.json").read_text())["sft"] // batch


def _say(text: str) -> None:
    print(text, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; the settings come from the environment, as recipes in shell do it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("overrides", nargs="*", help="settings for verl's GRPO, such as trainer.total_training_steps=5")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        execute(_run_from_environment(arguments.overrides))
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except StageError as error:
        print(f"{error}\nThe same command goes on from here.", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None


def _run_from_environment(overrides: Sequence[str]) -> Run:
    read = os.environ.get
    seed = read("SEED", "0")
    if not seed.isdigit():
        raise UserError(f"SEED={seed}: expected a whole number, 0 or more")
    rows = read("WARM_START_ROWS")
    if rows is not None and not (rows.isdigit() and int(rows) > 0):
        raise UserError(f"WARM_START_ROWS={rows}: expected a number of conversations, 1 or more")
    train, val = read("TRAIN_FILE"), read("VAL_FILE")
    model = read("MODEL_PATH")
    return Run(
        folder=Path(read("RUN_DIR") or stages.ROOT / "runs" / "tiny").resolve(),
        seed=int(seed),
        model_path=str(Path(model).resolve()) if model and Path(model).exists() else model or None,
        train_file=Path(train).resolve() if train else None,
        val_file=Path(val).resolve() if val else None,
        warm_start_rows=int(rows) if rows else None,
        overrides=tuple(overrides),
    )


if __name__ == "__main__":
    main()
