"""What the tests of long runs share: checkpoints as verl's FSDP engine writes them, with little in them."""

import json

import pytest


@pytest.fixture
def save():
    """Writes the checkpoint of a step into a folder, by default that of a PPO run on two ranks, and tracks it."""

    import torch

    def write(checkpoints, step, ranks=2, tracked=True, sft=False, value=0.0):
        folder = checkpoints / f"global_step_{step}"
        shards = folder if sft else folder / "actor"
        (shards / "huggingface").mkdir(parents=True)
        for rank in range(ranks):
            for kind in ("model", "optim", "extra_state"):
                tensor = {"weight": torch.full((64,), value + rank)}
                torch.save(tensor, shards / f"{kind}_world_size_{ranks}_rank_{rank}.pt")
        (shards / "huggingface" / "config.json").write_text("{}")
        (shards / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": ranks}))
        torch.save({"position": step}, folder / ("data_0.pt" if sft else "data.pt"))
        if tracked:
            (checkpoints / "latest_checkpointed_iteration.txt").write_text(str(step))
        return folder

    return write
