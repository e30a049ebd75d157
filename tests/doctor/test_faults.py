"""Every planted fault is found, with one clear line.

What is planted is real: files, settings, variables, a port that nothing listens on. Only GPUs come from a Machine
instead of a probe. To be quick, faults that do not hide each other are planted together, and each must still be named
by exactly one line, with no line besides; with --run-slow each is planted alone too.
"""

import json
import re
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from published_models import MODELS

from tooln1.config import CONFIGS
from tooln1.doctor.examine import examine
from tooln1.doctor.machine import probe_machine

ACTOR, ROLLOUT, MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"


CPU, GPU = "tool_n1_grpo_cpu", "tool_n1_grpo"


@dataclass
class Run:
    """A run in the making: what a fault is planted in."""

    folder: Path
    recipe: str
    overrides: dict[str, object]
    monkeypatch: pytest.MonkeyPatch
    hardware: dict[str, object] = field(default_factory=dict)

    def own_model(self) -> Path:
        """The model folder, copied so that it can be spoilt."""
        path = self.folder / "model"
        if not path.exists():
            shutil.copytree(self.overrides[f"{MODEL}.path"], path)
            self.overrides[f"{MODEL}.path"] = path
        return path


class Fault:
    """One fault: what its line says, and how it is planted."""

    def __init__(self, line, *plants):
        self.line, self.plants = line, plants


def setting(key, value):
    return lambda run: run.overrides.update({key: value})


def variable(name, value):
    return lambda run: run.monkeypatch.setenv(name, value)


def gpus(**changes):
    return lambda run: run.hardware.update(changes)


def model(edit):
    return lambda run: edit(run.own_model())


def rows(key, change):
    """Plants a fault in a copy of a parquet file."""

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


def closed_port(run):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        run.overrides["ray_kwargs.ray_init.address"] = f'"127.0.0.1:{probe.getsockname()[1]}"'


def folder_that_is_a_file(run):
    (run.folder / "file").touch()
    run.overrides["trainer.default_local_dir"] = run.folder / "file" / "checkpoints"


def checkpoint_of_two_gpus(run):
    actor = run.folder / "checkpoints" / "global_step_4" / "actor"
    actor.mkdir(parents=True)
    (actor / "model_world_size_2_rank_0.pt").touch()
    (actor.parents[1] / "latest_checkpointed_iteration.txt").write_text("4")


def reward_that_raises(run):
    (run.folder / "reward.py").write_text("def compute_score(**_):\n    raise KeyError('answer')\n")
    run.overrides["reward.custom_reward_function.path"] = run.folder / "reward.py"


def yaml_with_a_slip(run):
    mine = OmegaConf.load(CONFIGS / f"{run.recipe}.yaml")
    run.recipe = str(run.folder / "mine.yaml")
    OmegaConf.save(OmegaConf.merge(mine, {"trainer": {"sav_freq": 5}}), run.recipe)


def cut_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def take_template(folder):
    (folder / "chat_template.jinja").unlink()


def sizes_of(name):
    """A config.json of a published model beside the tiny one's tokenizer and weights."""

    def edit(folder):
        (folder / "config.json").write_text(json.dumps(MODELS[name][0]))

    return edit


# Faults that are planted together. Of the second kind of round the machine has GPUs, and this environment's packages
# for the CPU are three faults more.
ROUNDS = {
    "unknown setting": (
        CPU,
        Fault(r"trainer\.sav_freq.*did you mean trainer\.save_freq", setting("trainer.sav_freq", 5)),
    ),
    "unknown recipe": (
        "tool_n1_gpro",
        Fault(r"tool_n1_gpro: no such configuration; did you mean tool_n1_grpo\?"),
    ),
    "keys that nobody reads": (
        CPU,
        Fault(r"trainer\.sav_freq: no such setting, .*; did you mean save_freq\?", yaml_with_a_slip),
        Fault(r"data\.shufle: no such setting, .*; did you mean shuffle\?", setting("+data.shufle", "true")),
    ),
    "settings": (
        CPU,
        Fault(
            r"train_batch_size=16: no multiple of \S*ppo_mini_batch_size=3", setting(f"{ACTOR}.ppo_mini_batch_size", 3)
        ),
        Fault(r"temperature=0: all replies to a prompt would be the same", setting(f"{ROLLOUT}.temperature", 0)),
        Fault(r"optim\.lr=0: expected more than 0", setting(f"{ACTOR}.optim.lr", 0)),
        Fault(r"calculate_log_probs=false: .*bypass_mode takes", setting(f"{ROLLOUT}.calculate_log_probs", "false")),
        Fault(r"gpu_memory_utilization=1\.5: expected a share", setting(f"{ROLLOUT}.gpu_memory_utilization", 1.5)),
        Fault(r"max_model_len=300: replies would end early: .* make 416", setting(f"{ROLLOUT}.max_model_len", 300)),
        Fault(
            r"enable_sleep_mode=false: free_cache_engine=true needs", setting(f"{ROLLOUT}.free_cache_engine", "true")
        ),
        Fault(
            r"ref\.log_prob_max_token_len_per_gpu=100: .* = 416 tokens; raise it to 416",
            setting("actor_rollout_ref.ref.log_prob_max_token_len_per_gpu", 100),
        ),
        Fault(r"'telegraph' is none of verl's; expected console", setting("trainer.logger", "[console,telegraph]")),
    ),
    "surroundings": (
        CPU,
        Fault(r"/dev/shm: .* needed; start the container", setting("ray_kwargs.ray_init.object_store_memory", 10**15)),
        Fault(r"address 127\.0\.0\.1:\d+: nothing answers .*; run ray start --head", closed_port),
        Fault(r"checkpoints of .*file is a file; expected a folder", folder_that_is_a_file),
        Fault(
            r"path=pkg://\S+: cannot be loaded \(AttributeError: .*compute_scores",
            setting("reward.custom_reward_function.name", "compute_scores"),
        ),
        Fault(r"data\.val_files: \S*none\.parquet: no such file", setting("data.val_files", "none.parquet")),
        Fault(r"row 3: reward_model\.ground_truth: expected a JSON list", rows("data.train_files", spoil_truth)),
        Fault(r"model\.safetensors: incomplete or no safetensors file", model(cut_weights)),
    ),
    "data": (
        CPU,
        Fault(
            r"1 of 300 prompts too long .* would stop the run; set data\.filter_overlong_prompts=true",
            rows("data.train_files", lengthen),
            setting("data.filter_overlong_prompts", "false"),
        ),
        Fault(r"data\.train_files: 299 rows that fit, fewer than .*=300 of one", setting("data.train_batch_size", 300)),
        Fault(r"actor: written by 2 GPUs, the run has 1; take as many", checkpoint_of_two_gpus),
        Fault(r"reward\.py: row 0 of .*: raises KeyError: 'answer'; mend it", reward_that_raises),
    ),
    "template and adapters": (
        CPU,
        Fault(r"the tokenizer has no chat template; take an instruction-tuned model", model(take_template)),
        Fault(
            r"target_modules=\['query'\]: no linear layer has such a name",
            setting(f"{MODEL}.lora_rank", 8),
            setting(f"{MODEL}.target_modules", "[query]"),
        ),
    ),
    "columns, positions and memory": (
        CPU,
        Fault(r"data\.val_files: .*: column prompt: missing; expected", rows("data.val_files", drop_prompt)),
        Fault(
            r"memory: \S+ GB available .*, \S+ GB needed",
            model(sizes_of("Qwen/Qwen2.5-14B-Instruct")),
            setting("trainer.save_freq", -1),  # its checkpoints may not fit on the disk either
        ),
        Fault(
            r"max_position_embeddings is \d+, fewer than the 40096 tokens",
            setting("data.max_prompt_length", 40000),
            setting(f"{ROLLOUT}.max_model_len", 40096),
            setting(f"{ACTOR}.ppo_max_token_len_per_gpu", 50000),
        ),
    ),
    "machine": (
        GPU,
        Fault(r"trainer\.n_gpus_per_node=8: 4 GPUs are there; set trainer\.n_gpus_per_node=4", gpus(count=4)),
        Fault(r"compute capability 7\.0; bfloat16 and flash-attn need 8\.0", gpus(capability=7.0)),
        Fault(r"(4 of 4|8 of 8) GPUs in use by other processes \(2\.0 of 80\.0 GiB free\)", gpus(free=2 << 30)),
        Fault(r"torch is built for the CPU only; run pip install", gpus(torch_cuda=None)),
        Fault(r"NCCL_SOCKET_IFNAME=ib9: no such network interface", variable("NCCL_SOCKET_IFNAME", "ib9")),
        Fault(r"trainer\.nnodes=2: no Ray cluster is named or runs here", setting("trainer.nnodes", 2)),
        Fault(
            r"tensor_model_parallel_size=3: a replica takes 3 GPUs .* do not divide the run's (8|16) ",
            setting(f"{ROLLOUT}.tensor_model_parallel_size", 3),
        ),
        Fault(r"fsdp_size=5: does not divide (8|16) GPUs", setting(f"{ACTOR}.fsdp_config.fsdp_size", 5)),
        Fault(
            r"ppo_mini_batch_size=100: 100 prompts × 5 replies do not divide among (8|16) ",
            setting(f"{ACTOR}.ppo_mini_batch_size", 100),
            setting("data.train_batch_size", 100),
        ),
    ),
}

ENVIRONMENT = (
    r"versions +not installed: vllm==.*; run pip install -e \"\.\[vllm\]\"",
    r"attn_implementation=flash_attention_2: flash-attn is not installed; run pip install -e",
    r"nccl +torch was built without NCCL",
)


@pytest.fixture(scope="module")
def begin(tiny_model, tiny_data, tmp_path_factory):
    """A run that nothing is wrong with."""

    def start(recipe, monkeypatch):
        folder = tmp_path_factory.mktemp("run")
        overrides = {
            f"{MODEL}.path": tiny_model,
            "data.train_files": tiny_data / "train.parquet",
            "data.val_files": tiny_data / "test.parquet",
            "trainer.default_local_dir": folder / "checkpoints",
        }
        if recipe == GPU:  # as small as the model and its data
            overrides |= {"data.max_prompt_length": 512, "data.max_response_length": 512, "data.train_batch_size": 64}
        for name in ("RAY_ADDRESS", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("RAY_TMPDIR", str(folder))  # a cluster that happens to run on this machine is none of ours
        return Run(folder, recipe, overrides, monkeypatch)

    return start


@pytest.fixture(scope="module")
def faults_of(begin, gpu_machine):
    """The fault lines of a recipe with faults planted in it."""

    def find(recipe, faults):
        with pytest.MonkeyPatch.context() as monkeypatch:
            run = begin(recipe, monkeypatch)
            for fault in faults:
                for plant in fault.plants:
                    plant(run)
            machine = gpu_machine(**run.hardware) if recipe == GPU else probe_machine()
            overrides = [f"{key}={value}" for key, value in run.overrides.items()]
            return [str(finding) for finding in examine(run.recipe, overrides, machine).findings.faults]

    return find


@pytest.fixture(scope="module")
def rounds(faults_of):
    """The fault lines of each round, examined once."""
    found = {}

    def lines(name):
        if name not in found:
            recipe, *faults = ROUNDS[name]
            found[name] = faults_of(recipe, faults)
        return found[name]

    return lines


def matching(line, faults):
    return [fault for fault in faults if re.search(line, fault)]


EVERY = [(name, fault) for name, (_, *faults) in ROUNDS.items() for fault in faults]


def test_there_are_enough_of_them():
    assert len(EVERY) > 30


@pytest.mark.parametrize("name, fault", EVERY, ids=lambda value: value if isinstance(value, str) else value.line[:40])
def test_a_planted_fault_is_found_with_one_line(name, fault, rounds):
    (line,) = matching(fault.line, rounds(name))
    assert "\n" not in line


@pytest.mark.parametrize("name", ROUNDS)
def test_nothing_else_is_called_a_fault(name, rounds):
    recipe, *faults = ROUNDS[name]
    known = [fault.line for fault in faults] + list(ENVIRONMENT if recipe == GPU else ())
    assert [line for line in rounds(name) if not any(re.search(one, line) for one in known)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name, fault", EVERY, ids=lambda value: value if isinstance(value, str) else value.line[:40])
def test_a_fault_planted_alone_is_the_only_one(name, fault, faults_of):
    recipe = ROUNDS[name][0]
    found = faults_of(recipe, [fault])
    environment = [line for one in ENVIRONMENT for line in matching(one, found)] if recipe == GPU else []
    assert matching(fault.line, found) == [line for line in found if line not in environment]


def test_a_good_run_on_the_cpu_has_no_fault(faults_of):
    assert faults_of(CPU, []) == []


def test_the_packages_of_another_engine_are_faults(faults_of):
    found = faults_of(GPU, [])
    if not any("vllm==" in line for line in found):
        pytest.skip("the vllm extra is installed")
    assert len(found) == len(ENVIRONMENT)
    for line in ENVIRONMENT:
        assert len(matching(line, found)) == 1
