"""A run folder as `tooln1 train` leaves it: metrics, dumps of validation, and the places of two checkpoints."""

import json

import pytest
from omegaconf import OmegaConf

from tooln1.files import write_json
from tooln1.run_folder import RunFolder, checkpoint_folder


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def run_dir(tmp_path, tiny_data):
    folder = RunFolder(tmp_path / "run")
    for parent, step in ((folder.checkpoints, 2), (folder.checkpoints, 4), (folder.checkpoints / "best", 2)):
        checkpoint_folder(parent, step).mkdir(parents=True)
    (folder.checkpoints / "latest_checkpointed_iteration.txt").write_text("4")
    write_json(folder.checkpoints / "best.json", {"step": 2, "accuracy": 0.75})
    settings = {
        "actor_rollout_ref": {"model": {"path": "Qwen/Qwen2.5-7B-Instruct"}, "rollout": {"n": 5}},
        "data": {"train_files": str(tiny_data / "train.parquet"), "train_batch_size": 16},
        "trainer": {"total_epochs": 1},
    }
    OmegaConf.save(OmegaConf.create(settings), folder.config)
    write_lines(folder.metrics, [{"step": step, "data": {"critic/score/mean": step / 10}} for step in (1, 2, 3, 4)])
    for step, right in ((0, 0), (2, 3), (4, 2)):
        write_lines(folder.validation / f"{step}.jsonl", [{"acc": float(place < right)} for place in range(4)])
    write_json(folder.record, {"versions": {"verl": "0.9.1"}, "git_commit": "abc"})
    return folder.path
