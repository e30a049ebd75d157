"""Every recipe over verl's own configuration files: what it composes to, and that verl takes it.

Not covered: whether training works with the settings; tests/e2e runs the CPU recipe.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir, initialize_config_module
from omegaconf import DictConfig, OmegaConf, open_dict

CONFIGS = Path(__file__).resolve().parents[2] / "recipe" / "tool_n1" / "config"
RECIPES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
# "group=choice" for every file of a group; settings/ is no group, it belongs to every recipe.
CHOICES = sorted(
    f"{path.parent.name}={path.stem}" for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "settings"
)
GRPO = [name for name in RECIPES if "grpo" in name]
SFT = [name for name in RECIPES if "sft" in name]

# What a recipe leaves to the command line.
ASKED = {
    "grpo": ["data.train_files=train.parquet", "data.val_files=test.parquet", "actor_rollout_ref.model.path=model"],
    "sft": ["data.train_files=train.parquet", "model.path=model"],
}

# verl passes these on as they are, or creates them from a class of its own: their keys are not in its YAML files.
OPEN = (
    "actor_rollout_ref.model.override_config.",
    "model.override_config.",
    "actor_rollout_ref.rollout.engine_kwargs.",
    "reward.custom_reward_function.reward_kwargs.",
    "ray_kwargs.ray_init.",
    "actor_rollout_ref.actor.fsdp_config.mixed_precision",
    "actor_rollout_ref.ref.fsdp_config.mixed_precision",
    "engine.mixed_precision",
    # A field of verl's RolloutConfig that its YAML files leave out.
    "actor_rollout_ref.rollout.enable_sleep_mode",
)


REFERENCE = {
    "ppo_micro_batch_size": "log_prob_micro_batch_size",
    "ppo_micro_batch_size_per_gpu": "log_prob_micro_batch_size_per_gpu",
    "use_dynamic_bsz": "log_prob_use_dynamic_bsz",
    "ppo_max_token_len_per_gpu": "log_prob_max_token_len_per_gpu",
}


@cache
def _composed(name, overrides):
    with initialize_config_dir(str(CONFIGS), version_base=None):
        return compose(name, [*ASKED["grpo" if name in GRPO else "sft"], *overrides])


def compose_recipe(name, *overrides):
    return _composed(name, overrides).copy()


def leaves(config, prefix=""):
    """The dotted keys of everything that is set."""
    for key in config:
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation() and len(node):
            yield from leaves(node, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_every_recipe_is_of_a_kind_that_is_tested_here():
    assert set(GRPO) | set(SFT) == set(RECIPES) and GRPO and SFT


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_composes_and_every_reference_in_it_resolves(name):
    resolved = OmegaConf.to_container(compose_recipe(name), resolve=True, throw_on_missing=False)
    assert resolved["trainer"]["project_name"] == "tool_n1"
    assert resolved["trainer"]["experiment_name"] == name


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_sets_only_what_verl_knows(name):
    """Hydra would take a mistyped key of ours for a new one, and verl would never read it."""
    base = "ppo_trainer" if name in GRPO else "sft_trainer_engine"
    with initialize_config_module("verl.trainer.config", version_base=None):
        verls = compose(base)
    known = set(leaves(verls))
    shared = [path for path in CONFIGS.rglob("*/*.yaml") if ("sft" in str(path.relative_to(CONFIGS))) == (name in SFT)]
    ours = {key for path in [*shared, CONFIGS / f"{name}.yaml"] for key in leaves(OmegaConf.load(path))}
    ours = {key for key in ours if key.split(".")[0] not in ("hydra", "defaults")}
    assert len(ours) > 10
    assert not [key for key in sorted(ours - known) if not key.startswith(OPEN)]


@pytest.mark.parametrize("name", GRPO)
def test_verl_validates_a_grpo_recipe(name):
    from verl.utils.config import validate_config

    on_cpu = name.endswith("_cpu")
    config = compose_recipe(name, *([] if on_cpu else ["trainer.nnodes=4", "trainer.n_gpus_per_node=8"]))
    validate_config(config, use_reference_policy=True, use_critic=False)


@pytest.mark.parametrize("name", GRPO)
def test_verls_dataclasses_take_a_grpo_recipe(name, tiny_model):
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.config import FSDPActorConfig, RolloutConfig

    config = compose_recipe(name, f"actor_rollout_ref.model.path={tiny_model}").actor_rollout_ref
    # verl renames the reference's batch sizes before it reads them as an actor's (verl/workers/engine_workers.py).
    with open_dict(config.ref):
        config.ref.ppo_mini_batch_size = config.actor.ppo_mini_batch_size
        for ours, theirs in REFERENCE.items():
            config.ref[ours] = config.ref.pop(theirs)
    actor, ref, rollout = (omega_conf_to_dataclass(config[part]) for part in ("actor", "ref", "rollout"))
    assert isinstance(actor, FSDPActorConfig) and isinstance(rollout, RolloutConfig)
    assert (actor.kl_loss_coef, actor.use_kl_loss) == (0.001, True)
    assert rollout.n == 5
    assert ref.fsdp_config.model_dtype == config.ref.fsdp_config.model_dtype
    assert omega_conf_to_dataclass(compose_recipe(name).algorithm).adv_estimator == "grpo"
    assert omega_conf_to_dataclass(config.model).path == str(tiny_model)


@pytest.mark.parametrize("name", SFT)
def test_verls_dataclasses_take_an_sft_recipe(name, tiny_model):
    from verl.utils.config import omega_conf_to_dataclass

    config = compose_recipe(name, f"model.path={tiny_model}")
    parts = {part: omega_conf_to_dataclass(config[part]) for part in ("model", "engine", "optim", "checkpoint")}
    assert parts["model"].path == str(tiny_model)
    assert parts["optim"].lr == config.optim.lr
    # GRPO starts from what is saved in Hugging Face's form.
    assert "hf_model" in parts["checkpoint"].save_contents


@pytest.mark.parametrize(
    "key, value",
    [
        ("data.train_batch_size", 1024),
        ("data.max_prompt_length", 4096),
        ("data.max_response_length", 8192),
        ("algorithm.adv_estimator", "grpo"),
        ("algorithm.use_kl_in_reward", False),
        ("actor_rollout_ref.actor.optim.lr", 1e-6),
        ("actor_rollout_ref.actor.use_kl_loss", True),
        ("actor_rollout_ref.actor.kl_loss_coef", 0.001),
        ("actor_rollout_ref.actor.kl_loss_type", "low_var_kl"),
        ("actor_rollout_ref.actor.entropy_coeff", 0),
        ("actor_rollout_ref.actor.use_dynamic_bsz", True),
        ("actor_rollout_ref.actor.ppo_max_token_len_per_gpu", 30720),
        ("actor_rollout_ref.ref.log_prob_max_token_len_per_gpu", 30720),
        ("actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu", 30720),
        ("actor_rollout_ref.ref.log_prob_use_dynamic_bsz", True),
        ("actor_rollout_ref.rollout.log_prob_use_dynamic_bsz", True),
        ("actor_rollout_ref.model.enable_gradient_checkpointing", True),
        ("actor_rollout_ref.ref.fsdp_config.param_offload", True),
        ("actor_rollout_ref.rollout.name", "vllm"),
        ("actor_rollout_ref.rollout.n", 5),
        ("actor_rollout_ref.rollout.temperature", 0.7),
        ("actor_rollout_ref.rollout.tensor_model_parallel_size", 2),
        ("actor_rollout_ref.rollout.gpu_memory_utilization", 0.6),
        ("trainer.total_epochs", 7),
        ("trainer.save_freq", 10),
        ("trainer.test_freq", 10),
    ],
)
def test_the_papers_settings_are_the_defaults(key, value):
    assert OmegaConf.select(compose_recipe("tool_n1_grpo"), key) == value


@pytest.mark.parametrize("name", GRPO)
@pytest.mark.parametrize("batch", [4, 64])
def test_there_is_one_update_a_batch_whatever_its_size(name, batch):
    config = compose_recipe(name, f"data.train_batch_size={batch}")
    assert config.actor_rollout_ref.actor.ppo_mini_batch_size == batch
    assert config.actor_rollout_ref.actor.ppo_epochs == 1


@pytest.mark.parametrize("name", GRPO)
def test_verl_loads_the_reward_and_the_binary_score_trains(name):
    from verl.trainer.ppo.reward import get_custom_reward_fn

    reward = get_custom_reward_fn(compose_recipe(name))
    call = '[{"name": "f", "arguments": {"a": 1}}]'
    right, wrong = f"<think>yes</think><tool_call>{call}</tool_call>", f"<tool_call>{call}</tool_call>"
    for reply, score in ((right, 1.0), (wrong, 0.0)):
        result = reward(data_source="toolcall/xlam", solution_str=reply, ground_truth=call, extra_info={"index": 0})
        assert result["score"] == result["acc"] == score


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_a_group_changes_a_recipe_or_is_its_default(choice):
    group, name = choice.split("=")
    recipe = "tool_n1_sft" if group.startswith("sft_") else "tool_n1_grpo"
    chosen, default = (OmegaConf.to_container(compose_recipe(recipe, *words), resolve=True) for words in ([choice], []))
    is_default = {group: name} in OmegaConf.load(CONFIGS / f"{recipe}.yaml").defaults
    assert (chosen == default) == is_default


def test_no_group_has_the_name_of_one_of_verls():
    import verl.trainer

    theirs = {path.name for path in (Path(verl.trainer.__path__[0]) / "config").iterdir() if path.is_dir()}
    assert theirs and not theirs & {choice.split("=")[0] for choice in CHOICES}


def test_the_cpu_takes_back_what_other_choices_ask_for():
    wishes = ["preset=paper", "strategy=fsdp", "lora=rank32", "offload=actor", "context=8k", "platform=4x8x80gb"]
    config = compose_recipe("tool_n1_grpo", *wishes, "platform=cpu")
    expected = {
        "trainer.device": "cpu",
        "trainer.nnodes": 1,
        "trainer.n_gpus_per_node": 1,
        "ray_kwargs.ray_init.address": "local",
        "data.max_response_length": 96,
        "actor_rollout_ref.actor.ppo_mini_batch_size": 16,
        "actor_rollout_ref.actor.strategy": "fsdp2",
        "actor_rollout_ref.actor.fsdp_config.strategy": "fsdp2",
        "actor_rollout_ref.actor.fsdp_config.param_offload": False,
        "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
        "actor_rollout_ref.rollout.load_format": "auto",
        # vLLM's CPU worker takes whole models.
        "actor_rollout_ref.model.lora.merge": True,
        "actor_rollout_ref.model.lora_rank": 32,
    }
    assert {key: OmegaConf.select(config, key) for key in expected} == expected


def test_adapters_are_not_merged_on_a_gpu():
    config = compose_recipe("tool_n1_grpo", "lora=rank32")
    assert config.actor_rollout_ref.model.lora.merge is False
    assert config.actor_rollout_ref.rollout.load_format == "safetensors"


def test_sglang_gets_what_it_needs():
    from verl.utils.config import omega_conf_to_dataclass

    rollout = omega_conf_to_dataclass(compose_recipe("tool_n1_grpo", "rollout_engine=sglang").actor_rollout_ref.rollout)
    assert (rollout.name, rollout.gpu_memory_utilization) == ("sglang", 0.5)
    assert rollout.engine_kwargs["sglang"]["attention_backend"] == "flashinfer"


def test_fused_log_probs_equal_the_plain_ones(tiny_model, monkeypatch):
    """What preset=today switches on changes neither the log-probabilities nor their gradients."""
    import torch
    from transformers import AutoModelForCausalLM
    from verl.models.transformers.monkey_patch import apply_monkey_patch

    backend = compose_recipe("tool_n1_grpo").actor_rollout_ref.model.fused_kernel_options.impl_backend
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    # verl patches the class; this takes the patch back.
    monkeypatch.setattr(type(model), "forward", type(model).forward)
    ids = torch.randint(model.config.vocab_size, (1, 700), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "position_ids": torch.arange(700)[None], "use_cache": False}

    def gradients(log_probs):
        model.zero_grad()
        log_probs.sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    logits = model(**inputs).logits / 0.7
    plain = torch.log_softmax(logits, -1).gather(-1, torch.roll(ids, -1, 1)[..., None])[..., 0]
    plain_gradients = gradients(plain)
    apply_monkey_patch(
        model, use_remove_padding=False, ulysses_sp_size=1, use_fused_kernels=True, fused_kernels_backend=backend
    )
    fused = model(**inputs, temperature=0.7, return_dict=True).log_probs
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(gradients(fused), plain_gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_recipe_works_by_hand_with_verls_own_command():
    command = [*(sys.executable, "-m", "verl.trainer.main_ppo"), "--config-path", str(CONFIGS), "--cfg", "job"]
    command += ["--config-name", "tool_n1_grpo", "rollout_engine=sglang", *ASKED["grpo"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert OmegaConf.create(done.stdout).actor_rollout_ref.rollout.name == "sglang"


def test_the_cpu_recipe_trains_by_the_same_objective():
    cpu, gpu = (compose_recipe(name) for name in ("tool_n1_grpo_cpu", "tool_n1_grpo"))
    for key in (
        "algorithm.adv_estimator",
        "algorithm.use_kl_in_reward",
        "actor_rollout_ref.actor.kl_loss_type",
        "actor_rollout_ref.actor.kl_loss_coef",
        "actor_rollout_ref.actor.entropy_coeff",
        "actor_rollout_ref.rollout.n",
        "reward.custom_reward_function",
    ):
        assert OmegaConf.select(cpu, key) == OmegaConf.select(gpu, key), key
