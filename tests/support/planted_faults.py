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


# To be quick, faults that do not hide each other are planted together.
ROUNDS = {
    "unknown setting": (
        CPU,
        Fault(r"trainer\.sav_freq.*did you mean trainer\.save_freq", setting("trainer.sav_freq", 5)),
    ),
    "unknown recipe": (
        "tool_n1_gpro",
        Fault(r"tool_n1_gpro: no such configuration; did you mean tool_n1_grpo\?"),
    ),
    "settings": (
        CPU,
        Fault(r"settings +logger telegraph: unknown; expected", setting("trainer.logger", "[console,telegraph]")),
        Fault(r"trainer\.sav_freq: no such setting, .*; did you mean save_freq\?", yaml_with_a_slip),
        Fault(r"data\.shufle: no such setting, .*; did you mean shuffle\?", setting("+data.shufle", "true")),
        Fault(
            r"train_batch_size=400: no multiple of \S*ppo_mini_batch_size=3",
            setting(f"{ACTOR}.ppo_mini_batch_size", 3),
            setting("data.train_batch_size", 400),
        ),
        Fault(r"data\.train_files: 300 rows, fewer than the data\.train_batch_size=400 of one batch"),
        Fault(r"temperature=0: all responses to a prompt would be the same", setting(f"{ROLLOUT}.temperature", 0)),
        Fault(r"optim\.lr=0: expected more than 0", setting(f"{ACTOR}.optim.lr", 0)),
        Fault(r"calculate_log_probs=false: .*bypass_mode takes", setting(f"{ROLLOUT}.calculate_log_probs", "false")),
        Fault(r"gpu_memory_utilization=1\.5: expected a share", setting(f"{ROLLOUT}.gpu_memory_utilization", 1.5)),
        Fault(r"max_model_len=300: responses would end early: .* make 416", setting(f"{ROLLOUT}.max_model_len", 300)),
        Fault(
            r"enable_sleep_mode=false: free_cache_engine=true needs", setting(f"{ROLLOUT}.free_cache_engine", "true")
        ),
        Fault(
            r"ref\.log_prob_max_token_len_per_gpu=100: .* = 416 tokens; raise it to 416",
            setting("actor_rollout_ref.ref.log_prob_max_token_len_per_gpu", 100),
        ),
        Fault(r"trainer\.save_freq=-1: no checkpoint would be written", setting("trainer.save_freq", -1)),
    ),
    "surroundings": (
        CPU,
        Fault(r"/dev/shm: .* needed; start the container", setting("ray_kwargs.ray_init.object_store_memory", 10**15)),
        Fault(r"address 127\.0\.0\.1:\d+: nothing answers .*; run ray start --head", closed_port),
        Fault(r"checkpoints: .*file is a file; expected a folder", folder_that_is_a_file),
        Fault(r"data\.val_files: \S*none\.parquet: no such file", setting("data.val_files", "none.parquet")),
        Fault(r"row 3: reward_model\.ground_truth: expected a JSON list", rows("data.train_files", spoil_truth)),
        Fault(r"model\.safetensors: incomplete or no safetensors file", of_model(cut_weights)),
    ),
    "prompts": (
        CPU,
        Fault(
            r"1 of 300 prompts too long .* would stop the run; set data\.filter_overlong_prompts=true",
            rows("data.train_files", lengthen),
            setting("data.filter_overlong_prompts", "false"),
        ),
        Fault(r"data\.train_files: 299 rows that fit, fewer than .*=300 of one", setting("data.train_batch_size", 300)),
        Fault(r"global_step_4: saved by 2 ranks, this run has 1", checkpoint_of_two_gpus),
    ),
    "template and adapters": (
        CPU,
        Fault(r"the tokenizer has no chat template; take an instruction-tuned model", of_model(remove_template)),
        Fault(
            r"target_modules=\['query'\]: no linear layer has such a name",
            setting(f"{MODEL}.lora_rank", 8),
            setting(f"{MODEL}.target_modules", "[query]"),
        ),
    ),
    "columns, positions, memory and disk": (
        CPU,
        Fault(r"data\.val_files: .*: column prompt: missing; expected", rows("data.val_files", drop_prompt)),
        Fault(r"memory +\S+ GB available .*, \d+\.\d GB needed", of_model(sizes_of_14b)),
        Fault(
            r"disk .* GB needed, for 64 checkpoints of 177\.2 GB",
            setting("trainer.max_actor_ckpt_to_keep", "null"),
            setting("trainer.save_freq", 1),
        ),
        Fault(
            r"max_position_embeddings is \d+, fewer than the 40096 tokens",
            setting("data.max_prompt_length", 40000),
            setting(f"{ROLLOUT}.max_model_len", 40096),
            setting(f"{ACTOR}.ppo_max_token_len_per_gpu", 50000),
        ),
    ),
}
