"""The driver's decisions, with stages that only write down their command: what is complete is not done again."""

import json
import time

import pytest

from tooln1.config import compose
from tooln1.errors import UserError
from tooln1.tiny import run as driver
from tooln1.tiny import stages
from tooln1.tiny.run import Clock
from tooln1.tiny.stages import Run
from tooln1.train.process import StageError


@pytest.mark.parametrize(
    "setting", ["trainer.save_freq=-1", "trainer.total_training_steps=0", "data.train_batch_size=x"]
)
def test_a_setting_that_the_last_stages_need_is_checked_first(setting, tmp_path):
    with pytest.raises(UserError, match=setting):
        driver.check_own_files(Run(folder=tmp_path, seed=0, overrides=(setting,)))


@pytest.fixture
def commands(monkeypatch):
    """The stages that were run; none of them does anything."""
    done = []
    monkeypatch.setattr(driver, "run_stage", lambda command, environment, log, watch: done.append(command))
    monkeypatch.setattr(driver, "stop_left_over_processes", lambda folder: [])
    return done


@pytest.fixture
def clock(run):
    run.folder.mkdir()
    return Clock(run.folder / "clock.json")


def with_steps(run, total, *more):
    return Run(folder=run.folder, seed=0, overrides=(f"trainer.total_training_steps={total}", *more))


@pytest.mark.parametrize(
    "saved, validated, total, overrides, expected",
    [
        (None, [], 40, [], (True, False)),
        (None, [0], 40, [], (False, False)),
        (10, [0], 40, [], (False, False)),
        (40, [0, 20, 40], 40, [], None),
        (40, [0, 20, 40], 60, [], (False, False)),
        (40, [0, 20, 40], 30, [], None),
        # verl saves a step before it validates it.
        (40, [0, 20], 40, [], (True, True)),
        (40, [0], 40, ["trainer.test_freq=-1"], None),
    ],
)
def test_grpo_does_what_is_still_missing(
    saved, validated, total, overrides, expected, run, commands, clock, checkpoint, validation
):
    if saved:
        checkpoint(saved)
    for step in validated:
        validation(step, [("p", 1.0)])
    driver.train(with_steps(run, total, *overrides), {}, clock)
    if expected is None:
        assert commands == []
    else:
        command = commands[0]
        trainer = compose(stages.GRPO, command[command.index(stages.GRPO) + 1 :]).trainer
        assert (trainer.val_before_train, trainer.val_only) == expected


def test_what_was_made_from_an_earlier_checkpoint_is_made_anew(run, commands, clock, checkpoint, validation):
    checkpoint(2)
    validation(0, [("p", 1.0)])
    run.merged.mkdir()
    (run.merged / "config.json").touch()
    (run.folder / "replies.jsonl").touch()
    driver.finish(run, {}, clock)
    assert commands == []
    driver.train(with_steps(run, 3), {}, clock)
    assert not run.merged.exists() and not (run.folder / "replies.jsonl").exists()


def test_every_attempt_writes_metrics_of_its_own(run, monkeypatch, clock, attempt):
    attempt(0, [(1, 0.5, 1.0)])
    environments = []
    monkeypatch.setattr(driver, "stop_left_over_processes", lambda folder: [])
    monkeypatch.setattr(driver, "run_stage", lambda command, environment, *_: environments.append(environment))
    driver.train(run, {}, clock)
    assert environments == [{"VERL_FILE_LOGGER_PATH": str(run.metrics / "attempt-001.jsonl")}]


def test_a_warm_start_that_is_there_is_not_repeated(run, commands, clock):
    (run.folder / "warm_start").mkdir()
    (run.folder / "warm_start" / "config.json").touch()
    driver.prepare(run, {}, clock)
    assert commands == []


@pytest.mark.parametrize("train_file, expected", [(None, 1), ("mine.parquet", 0)])
def test_a_model_of_the_users_is_not_warmed_up(train_file, expected, run, commands, clock, tmp_path):
    """Its data are the synthetic world's unless it brings its own."""
    mine = Run(folder=run.folder, seed=0, model_path="/model", train_file=train_file and tmp_path / train_file)
    driver.prepare(mine, {}, clock)
    assert len(commands) == expected
    assert all("synthetic.py" in command[1] for command in commands)


def test_the_clock_adds_up_the_attempts(tmp_path):
    path = tmp_path / "clock.json"
    first = Clock(path)
    time.sleep(0.05)
    first.tick(seconds_to_first_step=3.0)
    between = json.loads(path.read_text())
    assert between["seconds_to_first_step"] == 3.0 and between["wall_seconds"] >= 0.05
    second = Clock(path)
    time.sleep(0.05)
    second.tick(peak_memory_gb=1.0)
    after = json.loads(path.read_text())
    assert after["wall_seconds"] >= between["wall_seconds"] + 0.05
    assert (after["seconds_to_first_step"], after["peak_memory_gb"]) == (3.0, 1.0)


def test_a_wrong_model_binds_the_folder_to_nothing(tmp_path, commands):
    """Else the corrected command would be refused: the folder would hold a run with the mistyped model."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no config.json"):
        driver.execute(Run(folder=tmp_path / "run", seed=0, model_path=str(tmp_path / "empty")))
    assert not (tmp_path / "run" / "run.json").exists()
    assert commands == []


@pytest.mark.parametrize(
    "error, code, expected",
    [
        (UserError("train.parquet: no such file"), 2, "train.parquet: no such file\n"),
        (StageError("verl failed"), 1, "verl failed\nThe same command goes on from here.\n"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from the last checkpoint\n"),
    ],
)
def test_an_error_has_its_exit_code_and_no_traceback(error, code, expected, monkeypatch, capsys, tmp_path):
    def fail(run):
        raise error

    monkeypatch.setattr(driver, "execute", fail)
    monkeypatch.setattr(driver.signal, "signal", lambda *_: None)  # pytest keeps its own handlers
    monkeypatch.setenv("RUN_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        driver.main([])
    assert stopped.value.code == code
    assert capsys.readouterr().err == expected
