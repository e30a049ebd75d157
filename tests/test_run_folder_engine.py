"""Tensorboard's events as torch writes them."""

import pytest
from verl_run import write_lines

from tooln1.run_folder import find_run, read_scalars

pytest.importorskip("tensorboard")
tensorboard = pytest.importorskip("torch.utils.tensorboard")


def test_events_fill_what_the_file_logger_lost(tmp_path):
    writer = tensorboard.SummaryWriter(str(tmp_path / "tensorboard_log"))
    for step in range(1, 6):
        writer.add_scalar("critic/score/mean", 0.5, step)
    writer.close()
    write_lines(tmp_path / "metrics.jsonl", [{"step": 5, "data": {"critic/score/mean": 0.75}}])
    assert read_scalars(find_run(tmp_path)) == {"critic/score/mean": {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5, 5: 0.75}}
