"""Faults to plant in a run that nothing is wrong with: real files, settings, a port that nothing listens on.

The table in docs/doctor.md has a row for each: its name, the commands that find it, and the line that they print.
"""

import json
import re
import shutil
import socket
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from tooln1.config import CONFIGS
from tooln1.settings import Settings

ACTOR, ROLLOUT, MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"
REWARD = "reward.custom_reward_function"
CPU, GPU, SFT = "tool_n1_grpo_cpu", "tool_n1_grpo", "tool_n1_sft_cpu"
OF_ENVIRONMENT = ("RAY_ADDRESS", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")
PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"
_ROW = re.compile(r"\| (.+) \| (yes|–) \| (yes|–) \| (yes|–) \| `(.+)` \|")


class Run:
    """A good run, until faults are planted in it."""

    def __init__(self, recipe, folder, model, data, monkeypatch):
        self.recipe, self.folder, self.monkeypatch = recipe, folder, monkeypatch
        self.model = "model.path" if recipe == SFT else f"{MODEL}.path"
        self.overrides = {self.model: model, "data.train_files": data / "train.parquet"}
        if recipe == SFT:
            self.overrides |= {"data.train_files": data / "sft.parquet", "data.max_length": 512}
        else:
            self.overrides["data.val_files"] = data / "test.parquet"
        if recipe == GPU:  # as small as the model and its data
            self.overrides |= {"data.max_prompt_length": 512, "data.max_response_length": 512}
            self.overrides |= {"data.train_batch_size": 64}
        for name in OF_ENVIRONMENT:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("RAY_TMPDIR", str(folder))  # hides a cluster that happens to run on this machine

    def plant(self, faults):
        for plan in faults.values():
            for part in plan:
                if callable(part):
                    part(self)
                else:
                    self.overrides |= part
        return self

    @property
    def arguments(self):
        return [
            self.recipe,
            "--run-dir",
            str(self.folder),
            *(f"{key}={value}" for key, value in self.overrides.items()),
        ]

    @property
    def files(self):
        return [str(self.overrides[key]) for key in ("data.train_files", "data.val_files") if key in self.overrides]

    def own_model(self):
        """The model folder, copied so that it can be spoilt."""
        path = self.folder / "own_model"
        if not path.exists():
            shutil.copytree(self.overrides[self.model], path)
            self.overrides[self.model] = path
        return path

    def own_rows(self, key, change):
        """A copy of a parquet file with other rows."""
        rows = pq.read_table(self.overrides[key]).to_pylist()
        change(rows)
        self.overrides[key] = self.folder / f"{key}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), self.overrides[key])


def rows(key, change):
    return lambda run: run.own_rows(f"data.{key}_files", change)


def truth(row, text):
    return rows("train", lambda table: table[row]["reward_model"].update(ground_truth=text))


def message(row, **fields):
    return rows("train", lambda table: table[row]["prompt"][-1].update(fields))


def drop_prompt(table):
    for row in table:
        del row["prompt"]


def end_with_the_user(table):
    del table[7]["messages"][-1]


def cut_weights(run):
    weights = run.own_model() / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def remove(name):
    return lambda run: (run.own_model() / name).unlink()


def template(text):
    return lambda run: (run.own_model() / "chat_template.jinja").write_text(text)


def make_tags_special(run):
    path = run.own_model() / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    for token in tokenizer["added_tokens"]:
        token["special"] |= token["content"] in ("<tool_call>", "</tool_call>")
    path.write_text(json.dumps(tokenizer))


def configure(**changes):
    def cause(run):
        path = run.own_model() / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return cause


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


def write_reward(body):
    def cause(run):
        (run.folder / "reward.py").write_text(f"def compute_score(extra_info, **_):\n    {body}\n")
        run.overrides[f"{REWARD}.path"] = run.folder / "reward.py"

    return cause


def write_yaml_with_a_slip(run):
    mine = OmegaConf.merge(OmegaConf.load(CONFIGS / f"{run.recipe}.yaml"), {"trainer": {"sav_freq": 5}})
    run.recipe = str(Path(run.folder, "mine.yaml"))
    OmegaConf.save(mine, run.recipe)


def variable(name, value):
    return lambda run: run.monkeypatch.setenv(name, value)


def another_recipe(run):
    run.recipe = "tool_n1_gpro"


DROPS = (
    "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}@{% endif %}"
)
OPENS_SOMETIMES = (
    "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}@"
    "{% if messages|length > 2 %}<think>{% endif %}{% endif %}"
)
DROPS_REASONING = (
    "{% for m in messages %}{{ m.content.split('</think>')[-1] if m.role == 'assistant' else m.content }}{% endfor %}"
)
KEYS_TWICE = '[{"name": "f", "arguments": {"x": 1, "x": 2}}]'
KEEP_ALL = {"trainer.max_actor_ckpt_to_keep": "null", "trainer.save_freq": 1, "trainer.total_training_steps": 10**9}
UNLISTED = '[{"name": "fly_to_mars", "arguments": {}}]'
# To be quick, faults that do not hide each other are planted together. These are found before verl is imported.
QUICK_ROUNDS = {
    "recipe": (CPU, {"a recipe's name": [another_recipe]}),
    "key": (CPU, {"a setting's name": [{"trainer.sav_freq": 5}]}),
    "number": (CPU, {"a word for a number": [{"data.train_batch_size": "many"}]}),
    "logger": (CPU, {"an unknown logger": [{"trainer.logger": "[console,telegraph]"}]}),
    "settings": (
        CPU,
        {
            "no model": [{f"{MODEL}.path": "null"}],
            "a batch that mini-batches do not divide": [{f"{ACTOR}.ppo_mini_batch_size": 3}],
            "fewer rows than a batch": [{"data.train_batch_size": 400}],
            "no randomness": [{f"{ROLLOUT}.temperature": 0}],
            "no learning rate": [{f"{ACTOR}.optim.lr": 0}],
            "no log-probabilities from the engine, which the loss takes": [{f"{ROLLOUT}.calculate_log_probs": "false"}],
            "more than all of the memory": [{f"{ROLLOUT}.gpu_memory_utilization": 1.5}],
            "an engine that cuts responses": [{f"{ROLLOUT}.max_model_len": 300}],
            "an engine that may not sleep and must": [{f"{ROLLOUT}.free_cache_engine": "true"}],
            "a token budget below one sequence": [{"actor_rollout_ref.ref.log_prob_max_token_len_per_gpu": 100}],
            "a group filter that a sampler hides": [
                {"algorithm.filter_groups.enable": "true", "trainer.v1.sampler.custom_sampler.path": "mine.py"}
            ],
            "no checkpoints": [{"trainer.save_freq": -1}],
            "a setting that verl never reads": [{"+data.shufle": "true"}],
        },
    ),
    "adapters": (
        CPU,
        {
            "a slip in a YAML file": [write_yaml_with_a_slip],
            "a rank that vLLM does not take": [{f"{MODEL}.lora_rank": 600, f"{MODEL}.lora.merge": "false"}],
            "adapters on no layer": [{f"{MODEL}.target_modules": "[query]"}],
            "groups of one": [{f"{ROLLOUT}.n": 1}],
            "another number of ranks than the checkpoint's": [save_with_two_gpus],
        },
    ),
    "run folder": (CPU, {"a folder that holds another run": [hold_another_run]}),
    "surroundings": (
        CPU,
        {
            "a temporary folder that is not there": [variable("TMPDIR", "/none")],
            "a home that cannot be written": [variable("HOME", "/proc/none")],
            "too little shared memory": [{"ray_kwargs.ray_init.object_store_memory": 10**15}],
            "checkpoints below a file": [put_checkpoints_into_a_file],
            "weights that broke off": [cut_weights],
            "a file that is not there": [{"data.val_files": "none.parquet"}],
        },
    ),
    "rows": (
        CPU,
        {
            "a ground truth that is not JSON": [truth(3, "f(x)")],
            "NaN in a ground truth": [truth(4, '[{"name": "f", "arguments": {"x": NaN}}]')],
            "a key twice in a ground truth": [truth(5, KEYS_TWICE)],
            "a call to a tool that the prompt does not list": [truth(299, UNLISTED)],
            "an unknown role": [message(8, role="robot")],
            "content null": [message(9, content=None)],
            "a prompt that the assistant ends": [message(10, role="assistant")],
            "a column that is not there": [rows("val", drop_prompt)],
        },
    ),
    "positions and disk": (
        CPU,
        {
            "a model that reads less than a sequence": [configure(max_position_embeddings=100)],
            "too small a disk": [KEEP_ALL],
        },
    ),
    "SFT rows": (SFT, {"a conversation without a response": [rows("train", end_with_the_user)]}),
}
# Found with verl and the model's own tokenizer.
ROUNDS_WITH_VERL = {
    "tokens": (
        CPU,
        {
            "tags that the tokenizer takes for special tokens": [make_tags_special],
            "a prompt that stops the run": [
                {"data.filter_overlong_prompts": "false"},
                message(6, content="long " * 1000),
            ],
            "fewer rows that fit than a batch": [{"data.train_batch_size": 300}],
            "a value that verl does not know": [{f"{ACTOR}.loss_agg_mode": "mean"}],
        },
    ),
    "dropped messages": (
        CPU,
        {
            "a chat template that drops the tools": [template(DROPS)],
            "a chat template that drops tool results": [],
            "a reward that is not in its file": [{f"{REWARD}.name": "compute_scores"}],
        },
    ),
    "no template": (
        CPU,
        {
            "no chat template": [remove("chat_template.jinja")],
            "too little memory": [
                {f"{ACTOR}.checkpoint.save_contents": "[extra]"},
                configure(vocab_size=10**9),
            ],
            "a reward that raises at one row": [
                write_reward("return {'score': 1.0} if extra_info['index'] != 250 else {}['answer']")
            ],
        },
    ),
    "reasoning": (
        CPU,
        {
            "<think> opened in some prompts only": [template(OPENS_SOMETIMES)],
            "an unknown variant of the reward": [{f"+{REWARD}.reward_kwargs.variant": "binry"}],
        },
    ),
    "SFT": (SFT, {"a chat template that drops the reasoning to learn": [template(DROPS_REASONING)]}),
}
ROUND_OF_RAY = (CPU, {"a cluster that does not answer": [close_port]})
# Two nodes; of the GPUs, 4 are there, old and in use.
ROUND_OF_GPUS = (
    GPU,
    {
        "fewer GPUs than the run takes": [],
        "GPUs that are too old": [],
        "GPUs that others use": [],
        "a network interface that is not there": [variable("NCCL_SOCKET_IFNAME", "ib9")],
        "two nodes and no cluster": [{"trainer.nnodes": 2}],
        "replicas that do not divide the GPUs": [{f"{ROLLOUT}.tensor_model_parallel_size": 3}],
        "shards that do not divide the GPUs": [{f"{ACTOR}.fsdp_config.fsdp_size": 5}],
        "sequences that ranks do not divide": [{f"{ACTOR}.ppo_mini_batch_size": 100, "data.train_batch_size": 100}],
    },
)
ROUNDS = [*QUICK_ROUNDS.values(), *ROUNDS_WITH_VERL.values(), ROUND_OF_RAY, ROUND_OF_GPUS]


class Row(NamedTuple):
    """A row of the table: which commands find the fault, and the line that they print ("…" stands for any text)."""

    commands: set[str]
    line: str

    def matches(self, text):
        return re.fullmatch(".*".join(map(re.escape, self.line.split("…"))), text)


def read_table():
    """{name of a fault: row}."""
    rows = {}
    for what, *marks, line in _ROW.findall(PAGE.read_text(encoding="utf-8")):
        names = zip(("validate", "doctor", "train"), marks, strict=True)
        rows[what] = Row({name for name, mark in names if mark == "yes"}, line)
    return rows


def assert_exactly(found, faults, command, besides=()):
    """Each of the faults that the command finds has its line, there are the lines ``besides``, and no other."""
    table = read_table()
    rows = [table[what] for what in faults if command in table[what].commands]
    rows += [Row(set(), line) for line in besides]
    hits = {row.line: sum(bool(row.matches(line)) for line in found) for row in rows}
    assert hits == dict.fromkeys(hits, 1), found
    assert len(found) == len(rows), found
