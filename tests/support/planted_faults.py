"""Faults to plant in a run that nothing is wrong with: real files, settings, variables, a port that nothing listens on.

A fault is what its line says, and the plants that cause it: functions that change a `RunWithFaults`.
"""

import json
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from published_models import MODELS

from tooln1.checks.checklist import examine
from tooln1.checks.findings import FAULT
from tooln1.config import CONFIGS
from tooln1.settings import Settings

ACTOR, ROLLOUT, MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"
CPU, GPU = "tool_n1_grpo_cpu", "tool_n1_grpo"


@dataclass
class RunWithFaults:
    folder: Path
    recipe: str
    overrides: dict[str, object]
    monkeypatch: pytest.MonkeyPatch

    def own_model(self) -> Path:
        """The model folder, copied so that it can be spoilt."""
        path = self.folder / "model"
        if not path.exists():
            shutil.copytree(self.overrides[f"{MODEL}.path"], path)
            self.overrides[f"{MODEL}.path"] = path
        return path

    def faults(self, **options) -> list[str]:
        overrides = tuple(f"{key}={value}" for key, value in self.overrides.items())
        findings, _ = examine(Settings(self.recipe, overrides, self.folder), **options)
        return [str(finding) for finding in findings if finding.severity == FAULT]


def good_run(recipe, folder, model, data, monkeypatch) -> RunWithFaults:
    overrides = {
        f"{MODEL}.path": model,
        "data.train_files": data / "train.parquet",
        "data.val_files": data / "test.parquet",
    }
    if recipe == GPU:  # as small as the model and its data
        overrides |= {"data.max_prompt_length": 512, "data.max_response_length": 512, "data.train_batch_size": 64}
    for name in ("RAY_ADDRESS", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(folder))  # hides a cluster that happens to run on this machine
    return RunWithFaults(folder, recipe, overrides, monkeypatch)


class Fault:
    def __init__(self, line, *plants):
        self.line, self.plants = line, plants


def assert_exactly(faults, expected):
    """Each of the expected lines is found once, and nothing else."""
    found = {line: [fault for fault in faults if re.search(line, fault)] for line in expected}
    assert {line: len(hits) for line, hits in found.items()} == dict.fromkeys(expected, 1), faults
    assert len(faults) == len(expected), faults


def setting(key, value):
    return lambda run: run.overrides.update({key: value})


def variable(name, value):
    return lambda run: run.monkeypatch.setenv(name, value)


def of_model(edit):
    return lambda run: edit(run.own_model())


def rows(key, change):
    """Changes the rows of a copy of a parquet file."""

    def plant(run):
        found = pq.read_table(run.overrides[key]).to_pylist()
        change(found)
        run.overrides[key] = run.folder / f"{key}.parquet"
        pq.write_table(pa.Table.from_pylist(found), run.overrides[key])

    return plant


def spoil_truth(found):
    found[3]["reward_model"]["ground_truth"] = "f(x)"


def lengthen(found):
    found[5]["prompt"][-1]["content"] = "long " * 1000


def drop_prompt(found):
    for row in found:
        del row["prompt"]


def cut_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def remove_template(folder):
    (folder / "chat_template.jinja").unlink()


def sizes_of_14b(folder):
    (folder / "config.json").write_text(json.dumps(MODELS["Qwen/Qwen2.5-14B-Instruct"][0]))


def closed_port(run):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        run.overrides["ray_kwargs.ray_init.address"] = f'"127.0.0.1:{probe.getsockname()[1]}"'


def folder_that_is_a_file(run):
    (run.folder / "file").touch()
    run.overrides["trainer.default_local_dir"] = run.folder / "file" / "checkpoints"


def checkpoint_of_two_gpus(run):
    step = run.folder / "checkpoints" / "global_step_4"
    (step / "actor").mkdir(parents=True)
    (step / "actor" / "model_world_size_2_rank_0.pt").touch()
    (step.parent / "latest_checkpointed_iteration.txt").write_text("4")


def reward_that_raises(run):
    (run.folder / "reward.py").write_text("def compute_score(**_):\n    raise KeyError('answer')\n")
    run.overrides["reward.custom_reward_function.path"] = run.folder / "reward.py"


def yaml_with_a_slip(run):
    mine = OmegaConf.load(CONFIGS / f"{run.recipe}.yaml")
    run.recipe = str(run.folder / "mine.yaml")
    OmegaConf.save(OmegaConf.merge(mine, {"trainer": {"sav_freq": 5}}), run.recipe)
