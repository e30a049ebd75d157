"""What is found in a folder: runs of tooln1, of the quickstart and of plain verl, and folders that hold none."""

import json
import shutil

import pytest
from verl_run import rollout, write_lines

from tooln1.errors import UserError
from tooln1.report.build import ReportSettings, load_runs
from tooln1.report.charts import make_charts
from tooln1.run_folder import find_run

METRICS = [{"step": step, "data": {"critic/score/mean": step / 10}} for step in (1, 2)]
ROWS = [rollout("x", "[]")]


def names(files):
    return [path.name for path in files.metrics]


def test_a_whole_run_has_all_its_parts(run_folder):
    files = find_run(run_folder)
    assert names(files) == ["metrics.jsonl"]
    assert list(files.rollouts) == list(range(1, 13)) and list(files.validation) == [0, 4, 8, 12]
    assert files.setting("actor_rollout_ref.rollout.n") == 4
    assert files.checkpoints == run_folder / "checkpoints"
    assert files.notes == []


def test_the_attempts_of_a_quickstart_are_one_run(tmp_path):
    for number in (0, 1):
        write_lines(tmp_path / "metrics" / f"attempt-00{number}.jsonl", METRICS)
    write_lines(tmp_path / "metrics" / "sft.jsonl", [{"step": 1, "data": {"train/loss": 1.0}}])
    assert len(find_run(tmp_path).metrics) == 3


def plain_verl(folder, run_folder):
    """A folder in which verl's own entry point was started, twice under two names."""
    write_lines(folder / "tool_n1" / "other.jsonl", METRICS)
    write_lines(folder / "tool_n1" / "tool_n1_grpo_cpu.jsonl", METRICS)
    write_lines(folder / "dumps" / "1.jsonl", ROWS)
    write_lines(folder / "dumps_val" / "0.jsonl", ROWS)
    hydra = folder / "outputs" / "2026-01-01" / "10-00-00" / ".hydra"
    shutil.copytree(run_folder / "hydra" / ".hydra", hydra)
    return folder


def test_plain_verls_folder_is_read_by_what_the_files_hold(tmp_path, run_folder):
    files = find_run(plain_verl(tmp_path / "work", run_folder))
    assert names(files) == ["tool_n1_grpo_cpu.jsonl"]
    assert any("other.jsonl" in note for note in files.notes)
    assert files.rollouts[1].parent.name == "dumps" and files.validation[0].parent.name == "dumps_val"
    assert files.setting("trainer.experiment_name") == "tool_n1_grpo_cpu"


def test_a_metrics_file_alone_is_a_run(tmp_path):
    write_lines(tmp_path / "mine.jsonl", METRICS)
    write_lines(tmp_path / "other.jsonl", METRICS)
    assert names(find_run(tmp_path / "mine.jsonl")) == ["mine.jsonl"]


def test_dumps_outside_the_folder_are_found_by_the_configuration(run_folder, tmp_path):
    """The configuration holds the absolute paths of the run's dumps."""
    shutil.copytree(run_folder / "hydra", tmp_path / "hydra")
    write_lines(tmp_path / "metrics.jsonl", METRICS)
    assert len(find_run(tmp_path).rollouts) == 12


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
    with pytest.raises(UserError, match="nothing of a verl run in it; expected are"):
        find_run(tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"step": 1}\n', "\x00\xff"])
def test_a_file_that_holds_no_metrics_is_one_line(content, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match="not a metrics file"):
        find_run(path)


def test_a_path_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_run(tmp_path / "absent")


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\x00", "a: ${b}\ntrainer: 1\nactor_rollout_ref: 2\n"])
def test_a_configuration_that_cannot_be_read_does_not_stop_the_report(text, tmp_path, load):
    (tmp_path / "config.yaml").write_text(text)
    write_lines(tmp_path / "metrics.jsonl", METRICS)
    assert load(tmp_path).facts.steps == 2


def test_a_run_of_the_sft_trainer_has_its_loss_and_misses_no_rollouts(tmp_path, load):
    write_lines(tmp_path / "metrics.jsonl", [{"step": step, "data": {"train/loss": 1 / step}} for step in (1, 2, 3)])
    config = {
        "trainer": {"total_training_steps": 3},
        "model": {"path": "mine"},
        "data": {"train_files": ["sft.parquet"]},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    run = load(tmp_path)
    assert run.facts.values["Steps"] == "3 of 3" and run.facts.values["Model"] == "mine"
    assert not [note for note in run.notes if "rollouts" in note or "validation" in note]
    assert [chart.key for chart in make_charts([run])] == ["sft_loss"]


def test_a_warm_starts_configuration_gives_way_to_that_of_grpo(run_folder, tmp_path, load):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / "outputs" / ".hydra").mkdir(parents=True)
    (folder / "outputs" / ".hydra" / "config.yaml").write_text("trainer: {}\nmodel: {path: warm}\n")
    assert load(folder).facts.values["Model"] == "Qwen/Qwen2.5-7B-Instruct"


def test_tensorboards_scalars_fill_what_the_file_logger_lost(tmp_path, load):
    pytest.importorskip("tensorboard")
    torch = pytest.importorskip("torch.utils.tensorboard")
    writer = torch.SummaryWriter(str(tmp_path / "tensorboard_log"))
    for step in range(1, 6):
        writer.add_scalar("critic/score/mean", 0.5, step)
    writer.close()
    write_lines(tmp_path / "metrics.jsonl", [{"step": 5, "data": {"critic/score/mean": 0.75}}])
    assert load(tmp_path).facts.reward == {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5, 5: 0.75}


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path, run_folder):
    paths = []
    for parent in ("a", "b"):
        shutil.copytree(run_folder, tmp_path / parent / "run")
        paths.append(tmp_path / parent / "run")
    assert [run.name for run in load_runs(paths, ReportSettings())] == ["a/run", "b/run"]


def test_sources_come_from_the_parquet_files(run_folder, load):
    run = load(run_folder)
    assert set(run.rollouts[1].by_source) <= {"toolcall/xlam", "toolcall/toolace_single_turn"}
    assert {group.source for group in run.rollouts[1].shown} == set(run.rollouts[1].by_source)


def test_two_sources_that_share_a_reference_are_told_apart_by_the_last_turn():
    from tooln1.report.sources import SourceIndex

    index = SourceIndex()
    index.add("[]", "call a taxi", "one")
    index.add("[]", "call", "two")
    assert index.find("[]", "user\ncall a taxi\nassistant") == "one"
    assert index.find("[]", "user\ncall\nassistant") == "two"
    assert index.find("[]", "user\nnothing") is None and index.find("{}", "call") is None


def test_metrics_that_are_no_numbers_are_left_out(tmp_path, load):
    path = tmp_path / "metrics.jsonl"
    data = {"critic/score/mean": None, "actor/lr": "x", "actor/grad_norm": 1.0}
    path.write_text(json.dumps({"step": 1, "data": data}) + '\n{"step": 2, "data": {"actor/grad_norm": NaN}}\n')
    assert load(tmp_path).scalars == {"actor/grad_norm": {1: 1.0}}
