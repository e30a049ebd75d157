"""Faults to plant in a run that nothing is wrong with: real files, settings, a port that nothing listens on.

A fault is (its line, the settings that cause it, functions that cause it).
"""

import json
import re
import shutil
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from published_models import MODELS

from tooln1.checks.checklist import examine
from tooln1.checks.findings import FAULT
from tooln1.config import CONFIGS
from tooln1.settings import Settings

ACTOR, ROLLOUT, MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"
CPU, GPU = "tool_n1_grpo_cpu", "tool_n1_grpo"
OF_ENVIRONMENT = ("RAY_ADDRESS", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "NCCL_P2P_DISABLE", "NCCL_IB_DISABLE")


class Run:
    """A good run, until faults are planted in it."""

    def __init__(self, recipe, folder, model, data, monkeypatch):
        self.recipe, self.folder = recipe, folder
        self.overrides = {
            f"{MODEL}.path": model,
            "data.train_files": data / "train.parquet",
            "data.val_files": data / "test.parquet",
        }
        if recipe == GPU:  # as small as the model and its data
            self.overrides |= {"data.max_prompt_length": 512, "data.max_response_length": 512}
            self.overrides |= {"data.train_batch_size": 64}
        for name in OF_ENVIRONMENT:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("RAY_TMPDIR", str(folder))  # hides a cluster that happens to run on this machine

    def plant(self, settings, *causes):
        self.overrides |= settings
        for cause in causes:
            cause(self)

    def faults(self, **options):
        overrides = tuple(f"{key}={value}" for key, value in self.overrides.items())
        findings, _ = examine(Settings(self.recipe, overrides, self.folder), **options)
        return [str(finding) for finding in findings if finding.severity == FAULT]

    def own_model(self):
        """The model folder, copied so that it can be spoilt."""
        path = self.folder / "own_model"
        shutil.copytree(self.overrides[f"{MODEL}.path"], path)
        self.overrides[f"{MODEL}.path"] = path
        return path

    def own_rows(self, key, change):
        """A copy of a parquet file with other rows."""
        rows = pq.read_table(self.overrides[key]).to_pylist()
        change(rows)
        self.overrides[key] = self.folder / f"{key}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), self.overrides[key])


def assert_exactly(faults, expected):
    """Each of the expected lines is found once, and nothing else."""
    hits = {line: sum(bool(re.search(line, fault)) for fault in faults) for line in expected}
    assert hits == dict.fromkeys(expected, 1), faults
    assert len(faults) == len(expected), faults


def spoil_truth(run):
    run.own_rows("data.train_files", lambda rows: rows[3]["reward_model"].update(ground_truth="f(x)"))


def lengthen_prompt(run):
    run.own_rows("data.train_files", lambda rows: rows[5]["prompt"][-1].update(content="long " * 1000))


def drop_prompt(run):
    run.own_rows("data.val_files", lambda rows: [row.pop("prompt") for row in rows])


def cut_weights(run):
    weights = run.own_model() / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def remove_template(run):
    (run.own_model() / "chat_template.jinja").unlink()


def take_sizes_of_14b(run):
    (run.own_model() / "config.json").write_text(json.dumps(MODELS["Qwen/Qwen2.5-14B-Instruct"][0]))


def close_port(run):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        run.overrides["ray_kwargs.ray_init.address"] = f'"127.0.0.1:{probe.getsockname()[1]}"'


def put_checkpoints_into_a_file(run):
    (run.folder / "file").touch()
    run.overrides["trainer.default_local_dir"] = run.folder / "file" / "checkpoints"


def save_with_two_gpus(run):
    step = run.folder / "checkpoints" / "global_step_4"
    (step / "actor").mkdir(parents=True)
    (step / "actor" / "model_world_size_2_rank_0.pt").touch()
    (step.parent / "latest_checkpointed_iteration.txt").write_text("4")


def hold_another_run(run):
    overrides = tuple(f"{key}={value}" for key, value in run.overrides.items())
    config = Settings(run.recipe, (*overrides, "data.seed=9"), run.folder).composed
    (run.folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    (run.folder / "metrics.jsonl").write_text("{}\n")


def raise_in_reward(run):
    (run.folder / "reward.py").write_text("def compute_score(**_):\n    raise KeyError('answer')\n")
    run.overrides["reward.custom_reward_function.path"] = run.folder / "reward.py"


def write_yaml_with_a_slip(run):
    mine = OmegaConf.merge(OmegaConf.load(CONFIGS / f"{run.recipe}.yaml"), {"trainer": {"sav_freq": 5}})
    run.recipe = str(Path(run.folder, "mine.yaml"))
    OmegaConf.save(mine, run.recipe)


LORA = {f"{MODEL}.lora_rank": 8, f"{MODEL}.target_modules": "[query]"}
LONG = {
    "data.max_prompt_length": 40000,
    f"{ROLLOUT}.max_model_len": 40096,
    f"{ACTOR}.ppo_max_token_len_per_gpu": 50000,
}
MANY_CHECKPOINTS = {"trainer.max_actor_ckpt_to_keep": "null", "trainer.save_freq": 1}
# To be quick, faults that do not hide each other are planted together, in runs of the CPU recipe.
ROUNDS = {
    "settings": [
        (r"settings +logger telegraph: unknown; expected", {"trainer.logger": "[console,telegraph]"}),
        (r"train_batch_size=400: no multiple of \S*ppo_mini_batch_size=3", {f"{ACTOR}.ppo_mini_batch_size": 3}),
        (r"data\.train_files: 300 rows, fewer than the data\.train_batch_size=400", {"data.train_batch_size": 400}),
        (r"temperature=0: all responses to a prompt would be the same", {f"{ROLLOUT}.temperature": 0}),
        (r"optim\.lr=0: expected more than 0", {f"{ACTOR}.optim.lr": 0}),
        (r"calculate_log_probs=false: .*bypass_mode takes", {f"{ROLLOUT}.calculate_log_probs": "false"}),
        (r"gpu_memory_utilization=1\.5: expected a share", {f"{ROLLOUT}.gpu_memory_utilization": 1.5}),
        (r"max_model_len=300: responses would end early: .* make 416", {f"{ROLLOUT}.max_model_len": 300}),
        (r"enable_sleep_mode=false: free_cache_engine=true needs", {f"{ROLLOUT}.free_cache_engine": "true"}),
        (
            r"ref\.log_prob_max_token_len_per_gpu=100: .* = 416 tokens; raise it to 416",
            {"actor_rollout_ref.ref.log_prob_max_token_len_per_gpu": 100},
        ),
        (r"trainer\.save_freq=-1: no checkpoint would be written", {"trainer.save_freq": -1}),
    ],
    "surroundings": [
        (r"/dev/shm: .* needed; start the container", {"ray_kwargs.ray_init.object_store_memory": 10**15}),
        (r"address 127\.0\.0\.1:\d+: nothing answers .*; run ray start --head", {}, close_port),
        (r"checkpoints: .*file is a file; expected a folder", {}, put_checkpoints_into_a_file),
        (r"data\.val_files: \S*none\.parquet: no such file", {"data.val_files": "none.parquet"}),
        (r"row 3: reward_model\.ground_truth: expected a JSON list", {}, spoil_truth),
        (r"model\.safetensors: incomplete or no safetensors file", {}, cut_weights),
    ],
    "prompts": [
        (r"1 of 300 prompts too long .* would stop", {"data.filter_overlong_prompts": "false"}, lengthen_prompt),
        (r"data\.train_files: 299 rows that fit, fewer than .*=300 of one", {"data.train_batch_size": 300}),
        (r"global_step_4: saved by 2 ranks, this run has 1", {}, save_with_two_gpus),
        (r"target_modules=\['query'\]: no linear layer has such a name", LORA),
    ],
    "template and run folder": [
        (r"the tokenizer has no chat template; take an instruction-tuned model", {}, remove_template),
        (r"holds a run of other settings: data\.seed 9 -> 0, .*; choose another run folder", {}, hold_another_run),
    ],
    "columns, positions, memory and disk": [
        (r"data\.val_files: .*: column prompt: missing; expected", {}, drop_prompt),
        (r"memory +\S+ GB available .*, \d+\.\d GB needed", {}, take_sizes_of_14b),
        (r"disk .* GB needed, for 64 checkpoints of 177\.2 GB", MANY_CHECKPOINTS),
        (r"max_position_embeddings is \d+, fewer than the 40096 tokens", LONG),
    ],
}
# Found by checks that are slow, or import verl.
SLOW_ROUNDS = {
    "unknown setting": [(r"trainer\.sav_freq.*did you mean trainer\.save_freq", {"trainer.sav_freq": 5})],
    "keys and reward": [
        (r"trainer\.sav_freq: no such setting, .*; did you mean save_freq\?", {}, write_yaml_with_a_slip),
        (r"data\.shufle: no such setting, .*; did you mean shuffle\?", {"+data.shufle": "true"}),
        (r"reward\.py: row 0 of .*: raises KeyError: 'answer'; correct it", {}, raise_in_reward),
    ],
    "reward": [
        (
            r"path=pkg://\S+: cannot be loaded \(AttributeError: .*compute_scores",
            {"reward.custom_reward_function.name": "compute_scores"},
        )
    ],
}
