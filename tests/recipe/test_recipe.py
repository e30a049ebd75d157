"""What the recipe's files compose to. test_recipe_engine.py lets verl use them."""

import yaml
from omegaconf import OmegaConf

from tooln1.config import CONFIGS, VERL_CONFIGS, compose, dotted_keys

GROUPS = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
FILES = list(CONFIGS.rglob("*.yaml"))

# verl passes these on, or makes a dataclass of them that has fields which its YAML files leave out.
OPEN = (
    "actor_rollout_ref.model.override_config.",
    "model.override_config.",
    "actor_rollout_ref.rollout.engine_kwargs.",
    "reward.custom_reward_function.reward_kwargs.",
    "ray_kwargs.ray_init.",
    "actor_rollout_ref.actor.fsdp_config.mixed_precision",
    "actor_rollout_ref.ref.fsdp_config.mixed_precision",
    "engine.mixed_precision",
    "actor_rollout_ref.rollout.enable_sleep_mode",
)


def test_the_recipe_sets_only_keys_that_verl_knows():
    """Hydra would take a mistyped key for a new one, and verl would never read it."""
    for base, is_sft in (("ppo_trainer", False), ("sft_trainer_engine", True)):
        known = set(dotted_keys(OmegaConf.to_container(compose(str(VERL_CONFIGS / f"{base}.yaml")))))
        files = [path for path in FILES if ("sft" in str(path.relative_to(CONFIGS))) == is_sft]
        ours = {key for path in files for key in dotted_keys(yaml.safe_load(path.read_text()))}
        ours = {key for key in ours if key.split(".")[0] not in ("hydra", "defaults")}
        assert len(ours) > 20
        assert not [key for key in sorted(ours - known) if not key.startswith(OPEN)]


def test_no_group_has_the_name_of_one_of_verls():
    theirs = {path.name for path in VERL_CONFIGS.iterdir() if path.is_dir()}
    assert theirs and not theirs & GROUPS


def test_the_cpu_overrides_what_other_choices_set():
    wishes = ["preset=paper", "lora=rank32", "actor_rollout_ref.rollout.n=3", "platform=2x24gb"]
    config = compose("tool_n1_grpo", [*wishes, "platform=cpu"])
    expected = {
        "trainer.device": "cpu",
        "trainer.n_gpus_per_node": 1,
        "ray_kwargs.ray_init.address": "local",
        "data.max_response_length": 96,
        "actor_rollout_ref.actor.ppo_mini_batch_size": 16,
        "actor_rollout_ref.actor.strategy": "fsdp2",
        "actor_rollout_ref.actor.fsdp_config.strategy": "fsdp2",
        "actor_rollout_ref.ref.fsdp_config.strategy": "fsdp2",
        "actor_rollout_ref.actor.fsdp_config.model_dtype": "fp32",
        "actor_rollout_ref.actor.fsdp_config.param_offload": False,
        "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
        "actor_rollout_ref.rollout.load_format": "auto",
        "actor_rollout_ref.rollout.n": 3,
        # vLLM's CPU worker takes whole models.
        "actor_rollout_ref.model.lora.merge": True,
        "actor_rollout_ref.model.lora_rank": 32,
    }
    assert {key: OmegaConf.select(config, key) for key in expected} == expected


def test_the_cpu_recipe_trains_by_the_same_objective():
    cpu, gpu = compose("tool_n1_grpo_cpu"), compose("tool_n1_grpo", ["data.train_batch_size=64"])
    for key in (
        *("algorithm.adv_estimator", "algorithm.use_kl_in_reward", "reward.custom_reward_function"),
        *(f"actor_rollout_ref.actor.{name}" for name in ("kl_loss_type", "kl_loss_coef", "entropy_coeff")),
        "actor_rollout_ref.rollout.n",
    ):
        assert OmegaConf.select(cpu, key) == OmegaConf.select(gpu, key), key
    for config in (cpu, gpu):  # one update a batch
        assert config.actor_rollout_ref.actor.ppo_mini_batch_size == config.data.train_batch_size
        assert config.actor_rollout_ref.actor.ppo_epochs == 1
    # Adapters are not merged on a GPU.
    assert gpu.actor_rollout_ref.model.lora.merge is False
