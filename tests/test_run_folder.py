"""What is found in a folder: runs of `tooln1 train`, of the quickstart and of plain verl, and folders without a run."""

import json
import shutil

import pytest
from verl_run import rollout, write_lines, write_run

from tooln1.errors import UserError
from tooln1.run_folder import RunFolder, find_run, read_scalars

METRICS = [{"step": step, "data": {"critic/score/mean": step / 10}} for step in (1, 2)]
ROWS = [rollout("x", "[]")]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "seed0", steps=4)


def names(run):
    return [path.name for path in run.metrics]


def test_a_whole_run_has_all_its_parts(run_folder):
    run = find_run(run_folder)
    assert names(run) == ["metrics.jsonl"]
    assert list(run.rollouts) == [1, 2, 3, 4] and list(run.validation) == [0, 4]
    assert run.setting("actor_rollout_ref.rollout.n") == 4
    assert run.model == "Qwen/Qwen2.5-7B-Instruct" and not run.is_sft
    assert run.checkpoints == run_folder / "checkpoints"
    assert run.notes == []


def test_attempts_and_warm_start_belong_to_the_run(tmp_path):
    for folder in (RunFolder(tmp_path), RunFolder(tmp_path).warm_start):
        write_lines(folder.metrics, METRICS)
        write_lines(folder.attempts / "attempt-000.jsonl", METRICS)
        folder.checkpoints.mkdir()
        (folder.checkpoints / "latest_checkpointed_iteration.txt").write_text("2")
    run = find_run(tmp_path)
    assert len(run.metrics) == 4
    assert run.checkpoints == tmp_path / "checkpoints"


def plain_verl(folder, run_folder):
    """A folder in which verl's own entry point was started twice, under two names."""
    write_lines(folder / "tool_n1" / "other.jsonl", METRICS)
    write_lines(folder / "tool_n1" / "tool_n1_grpo_cpu.jsonl", METRICS)
    write_lines(folder / "dumps" / "1.jsonl", ROWS)
    write_lines(folder / "dumps_val" / "0.jsonl", ROWS)
    hydra = shutil.copytree(run_folder / "hydra" / ".hydra", folder / "outputs" / "2026-01-01" / "10-00-00" / ".hydra")
    with (hydra / "config.yaml").open("a") as config:
        config.write("  experiment_name: tool_n1_grpo_cpu\n")  # the last block is that of the trainer
    return folder


def test_plain_verls_folder_is_read_by_content(tmp_path, run_folder):
    run = find_run(plain_verl(tmp_path / "work", run_folder))
    assert names(run) == ["tool_n1_grpo_cpu.jsonl"]
    assert any("other.jsonl" in note for note in run.notes)
    assert run.rollouts[1].parent.name == "dumps" and run.validation[0].parent.name == "dumps_val"
    assert run.hydra.parent.name == "10-00-00"


def test_a_metrics_file_alone_is_a_run(tmp_path):
    write_lines(tmp_path / "mine.jsonl", METRICS)
    write_lines(tmp_path / "other.jsonl", METRICS)
    assert names(find_run(tmp_path / "mine.jsonl")) == ["mine.jsonl"]


def test_dumps_outside_the_folder_are_found_by_the_configuration(run_folder, tmp_path):
    """The configuration holds the absolute paths of the run's dumps."""
    shutil.copytree(run_folder / "hydra", tmp_path / "hydra")
    write_lines(tmp_path / "metrics.jsonl", METRICS)
    assert len(find_run(tmp_path).rollouts) == 4


def test_a_warm_starts_configuration_gives_way_to_that_of_grpo(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / "outputs" / ".hydra").mkdir(parents=True)
    (folder / "outputs" / ".hydra" / "config.yaml").write_text("trainer: {}\nmodel: {path: warm}\n")
    assert find_run(folder).model == "Qwen/Qwen2.5-7B-Instruct"


def empty(folder):
    pass


def another_framework(folder):
    (folder / "trainer_state.json").write_text('{"log_history": []}')
    (folder / "config.yaml").write_text("learning_rate: 1e-5\n")
    write_lines(folder / "log.jsonl", [{"loss": 1.0, "epoch": 0.1}])


def a_model(folder):
    (folder / "config.json").write_text('{"model_type": "qwen2"}')


@pytest.mark.parametrize("fill", [empty, another_framework, a_model])
def test_a_folder_without_a_run_is_one_line(fill, tmp_path):
    fill(tmp_path)
    with pytest.raises(UserError, match="nothing of a verl run in it; expected verl's file logger"):
        find_run(tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"step": 1}\n', "\x00\xff"])
def test_a_file_without_metrics_is_one_line(content, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match="not a metrics file"):
        find_run(path)


def test_a_missing_path_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_run(tmp_path / "absent")


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\x00", "a: ${b}\ntrainer: 1\nactor_rollout_ref: 2\n"])
def test_an_unreadable_configuration_does_no_harm(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    write_lines(tmp_path / "metrics.jsonl", METRICS)
    assert read_scalars(find_run(tmp_path)) == {"critic/score/mean": {1: 0.1, 2: 0.2}}


def test_metrics_that_are_not_finite_numbers_are_left_out(tmp_path):
    data = {"critic/score/mean": None, "actor/lr": "x", "actor/grad_norm": 1.0}
    nan = '{"step": 2, "data": {"actor/grad_norm": NaN}}\n'
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "data": data}) + "\n" + nan)
    assert read_scalars(find_run(tmp_path)) == {"actor/grad_norm": {1: 1.0}}


@pytest.mark.parametrize("text", ["[]", "{", "\xff"])
def test_a_record_of_something_else_is_one_line(text, tmp_path):
    assert RunFolder(tmp_path).read_record() == {}
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match="not the record of a run"):
        RunFolder(tmp_path).read_record()
