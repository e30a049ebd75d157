"""verl's metrics over all attempts, also those that were killed, and the bar that follows them."""

import json

import pytest

from tooln1.run_folder import REWARD, RunFolder
from tooln1.train.metrics import MetricsCopy, follow, gather_metrics, new_metrics_file, progress_bar, read_metrics


def line(step, **data):
    return json.dumps({"step": step, "data": data}) + "\n"


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.attempts.mkdir(parents=True)
    return folder


def test_if_a_step_ran_twice_the_later_run_counts(folder):
    first = line(0, acc=0.5) + line(1, r=0.1) + line(2, r=0.2) + line(2, acc=0.9) + line(3, r=0.3)[:-5]
    new_metrics_file(folder).write_text(first)
    new_metrics_file(folder).write_text(line(2, r=0.25) + line(3, r=0.35))
    (folder.attempts / "other.jsonl").write_text(line(1, r=9.0))  # no attempt of this run
    metrics = read_metrics(folder.attempts)
    assert metrics == {0: {"acc": 0.5}, 1: {"r": 0.1}, 2: {"r": 0.25, "acc": 0.9}, 3: {"r": 0.35}}
    assert list(metrics) == [0, 1, 2, 3]
    gather_metrics(folder, 1)
    assert folder.metrics.read_text() == line(0, acc=0.5) + line(1, r=0.1)


def test_finished_lines_are_copied_as_they_are_written(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    copy = MetricsCopy(source, target)
    copy()
    assert not target.exists()
    target.write_text(line(1))
    source.write_text(line(2) + line(3)[:5])
    copy()
    assert target.read_text() == line(1) + line(2)
    source.write_text(line(2) + line(3))
    copy()
    copy()
    assert target.read_text() == line(1) + line(2) + line(3)


def test_the_bar_follows_the_steps(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    with progress_bar("GRPO", 10, "reward", 2) as bar:
        update = follow(path, bar, REWARD)
        assert not update() and bar.n == 2
        path.write_text(line(2, other=1) + line(3, **{REWARD: 0.25, "timing_s/step": 1.5}))
        assert update() and update()
        assert bar.n == 3
        assert bar.postfix == "reward 0.25, 1.5 s a step"
