"""Metrics over all attempts, and what the bar shows of them."""

import json

from tooln1.train.metrics import REWARD, read_jsonl
from tooln1.train.progress import MetricsCopy, all_of, follow, gather_metrics, progress_bar


def line(step, **data):
    return json.dumps({"step": step, "data": data}) + "\n"


def test_of_a_step_that_was_trained_twice_the_later_counts_and_lost_steps_go(tmp_path):
    attempts, target = tmp_path / "metrics", tmp_path / "metrics.jsonl"
    attempts.mkdir()
    (attempts / "attempt-000.jsonl").write_text(line(1, a=1) + line(2, a=2) + line(3, a=3))
    (attempts / "attempt-001.jsonl").write_text(line(2, a=20))
    gather_metrics(attempts, target, 2)
    assert read_jsonl(target) == [{"step": 1, "data": {"a": 1}}, {"step": 2, "data": {"a": 20}}]


def test_finished_lines_are_copied_as_they_come(tmp_path):
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
    first = []
    with progress_bar("GRPO", 10, "reward", 2) as bar:
        watch = all_of(follow(path, bar, REWARD, lambda: first.append(1)))
        watch()
        assert bar.n == 2 and not first
        path.write_text(line(2, other=1) + line(3, **{REWARD: 0.25, "timing_s/step": 1.5}))
        watch()
        watch()
        assert bar.n == 3 and first == [1]
        assert bar.postfix == "reward 0.25, 1.5 s a step"
