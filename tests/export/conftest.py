"""A run folder as `tooln1 train` leaves it: two checkpoints of the tiny model, metrics and dumps of validation."""

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf

from tooln1.train import checkpoints, record


@pytest.fixture(scope="session")
def write_checkpoint(tiny_model):
    """Writes the checkpoint of a step as verl's FSDP engine does on one rank, without the optimizer."""

    def write(folder, model):
        actor = folder / "actor"
        (actor / "huggingface").mkdir(parents=True)
        torch.save(model.state_dict(), actor / "model_world_size_1_rank_0.pt")
        (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 1}))
        torch.save({}, folder / "data.pt")
        for path in tiny_model.iterdir():
            if path.suffix != ".safetensors":
                shutil.copy(path, actor / "huggingface")

    return write


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def model(tiny_model):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model)


@pytest.fixture
def run_dir(tmp_path, tiny_data, model, write_checkpoint):
    folder = tmp_path / "run"
    for step in (2, 4):
        write_checkpoint(folder / "checkpoints" / f"global_step_{step}", model)
        (folder / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(str(step))
    checkpoints.keep_best(folder / "checkpoints", 2, 0.75)
    settings = {
        "actor_rollout_ref": {"model": {"path": "Qwen/Qwen2.5-7B-Instruct"}, "rollout": {"n": 5}},
        "data": {"train_files": str(tiny_data / "train.parquet"), "train_batch_size": 16},
    }
    OmegaConf.save(OmegaConf.create(settings), folder / "config.yaml")
    rewards = [{"step": step, "data": {"critic/score/mean": step / 10}} for step in (1, 2, 3, 4)]
    write_lines(folder / "metrics.jsonl", rewards)
    for step, right in ((0, 0), (2, 3), (4, 2)):
        write_lines(folder / "validation" / f"{step}.jsonl", [{"acc": float(place < right)} for place in range(4)])
    record.begin(folder, {}, {})
    return folder
