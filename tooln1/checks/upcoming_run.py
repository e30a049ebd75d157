"""A run before it starts: its settings as numbers, and what the checks find out about it."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tooln1.checks.model_shape import ModelShape
from tooln1.config import missing_keys
from tooln1.errors import UserError
from tooln1.reward_score import reward_name
from tooln1.settings import Settings, whole_number

_BYTES = {
    "fp32": 4, "float32": 4, "bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2, "half": 2, "auto": 2,
}  # fmt: skip
# The argument by which the rewards of this package learn that a prompt ends with an open <think>.
OPENS_THINK = "reward.custom_reward_function.reward_kwargs.prompt_opens_think"
_ACTOR, _ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in bytes."""

    name: str
    memory: int
    free: int
    capability: float  # CUDA's compute capability, such as 9.0


class UpcomingRun:
    """What the checks read.

    verl keeps the same settings in different places for GRPO and for SFT: ``model``, ``engine`` (FSDP), ``optim`` and
    ``checkpoint`` are those of the trained model in both. ``rollout`` is None for SFT.

    Args:
        gpus: of one node.
        planned: whether the run is for another machine than this one.

    Raises:
        UserError: Hydra refuses the settings, or a number that the checks need is none.
    """

    def __init__(self, settings: Settings, gpus: tuple[Gpu, ...] = (), planned: bool = False):
        self.settings, self.config = settings, settings.composed
        self.gpus, self.planned = gpus, planned
        self.is_sft, self.on_cpu = settings.is_sft, settings.is_cpu
        self.missing = missing_keys(self.config)
        self._read_parts()
        self._read_sizes()
        self._read_types()

        # What the checks find out, for later checks and the tables. None or empty: not known, or faulty.
        self.whole_model: str | None = None  # the model, if it has everything that a run reads
        self.shape: ModelShape | None = None
        self.positions: float | None = None  # the longest sequence that the model reads, in tokens
        self.tokenizer: Any = None
        self.reward: Callable[..., Any] | None = None  # with the reward_kwargs
        # Whether the prompts end with an open <think>, as the chat template says.
        self.opens_think = bool(self.read(OPENS_THINK))
        self.rows: int | None = None  # training rows that verl keeps
        self.val_rows: int | None = None
        self.mean_prompt: float | None = None  # in tokens
        self.phases: dict[str, dict[str, int]] = {}  # memory: {phase: {part: bytes}}
        self.cache_tokens: int | None = None  # of the KV cache of one replica

    def read(self, key: str) -> Any:
        """A setting by its dotted key, None if there is no such key."""
        return OmegaConf.select(self.config, key)

    @property
    def length(self) -> int:
        """Tokens of the longest sequence, prompt and response."""
        return self.prompt_length + self.response_length

    @property
    def steps_per_epoch(self) -> int | None:
        return self.rows // self.prompts if self.rows else None

    @property
    def steps(self) -> int | None:
        """Steps of the whole run, None if neither the settings nor the data tell."""
        epoch = self.steps_per_epoch
        return self.config.trainer.total_training_steps or (epoch and epoch * self.config.trainer.total_epochs)

    def _number(self, key: str) -> int:
        return whole_number(self.config, key)

    def _real(self, key: str) -> float:
        value = self.read(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{key}={value}: expected a number")
        return value

    def _bytes(self, key: str, default: str) -> int:
        name = str(self.read(key) or default).removeprefix("torch.")
        if name not in _BYTES:
            raise UserError(f"{key}={name}: expected one of {', '.join(_BYTES)}")
        return _BYTES[name]

    def _read_parts(self) -> None:
        empty = OmegaConf.create()
        policy, actor = ("", "") if self.is_sft else ("actor_rollout_ref.", f"{_ACTOR}.")
        self._engine_key = "engine" if self.is_sft else f"{actor}fsdp_config"
        self.model: DictConfig = self.read(f"{policy}model") or empty
        self.engine: DictConfig = self.read(self._engine_key) or empty
        self.optim: DictConfig = self.read(f"{actor}optim") or empty
        self.checkpoint: DictConfig = self.read(f"{actor}checkpoint") or empty
        self.rollout: DictConfig | None = self.read(_ROLLOUT)
        self.fsdp2 = self.read("engine.strategy" if self.is_sft else f"{actor}strategy") == "fsdp2"
        self.model_name = None if f"{policy}model.path" in self.missing else str(self.model.path)
        self.train_files = [os.path.expanduser(path) for path in self.settings.train_files]
        self.val_files = [os.path.expanduser(path) for path in self.settings.val_files]
        self.lora_rank = self.model.get("lora_rank") or 0
        self.has_our_reward = reward_name(self.read("reward.custom_reward_function.path")) is not None

    def _read_sizes(self) -> None:
        self.nodes, self.gpus_per_node = self._number("trainer.nnodes"), self._number("trainer.n_gpus_per_node")
        self.total_gpus = self.nodes * self.gpus_per_node
        parallel = self.read(f"{_ACTOR}.ulysses_sequence_parallel_size") or 1
        self.sequence_parallel = max(parallel, self.engine.get("ulysses_sequence_parallel_size") or 1)
        # Data-parallel ranks: with sequence parallelism, several GPUs are one rank.
        self.ranks = max(self.total_gpus // self.sequence_parallel, 1)
        size = self.engine.get("fsdp_size")
        # GPUs that share one copy of the parameters.
        self.shard = size if isinstance(size, int) and 0 < size < self.total_gpus else self.total_gpus
        self._number("trainer.total_epochs")
        if self.config.trainer.total_training_steps is not None:
            self._number("trainer.total_training_steps")
        self.prompts = self._number("data.train_batch_size")  # in a step
        self.save_every = -1
        if not (self.is_sft and self.config.trainer.save_freq == "after_each_epoch"):
            self.save_every = self._real("trainer.save_freq")
        (self._read_sft_batch if self.is_sft else self._read_grpo_batch)()

    def _read_sft_batch(self) -> None:
        self.prompt_length, self.response_length = self._number("data.max_length"), 0
        self.responses, self.mini_batch, self.temperature = 1, self.prompts, 1.0
        self.train_tokens = self._micro_batch("data.", self.read("data.use_dynamic_bsz"))

    def _read_grpo_batch(self) -> None:
        self.prompt_length = self._number("data.max_prompt_length")
        self.response_length = self._number("data.max_response_length")
        self.responses = self._number(f"{_ROLLOUT}.n")  # to a prompt
        self.mini_batch = self._number(f"{_ACTOR}.ppo_mini_batch_size")  # in prompts
        dynamic = self.read(f"{_ACTOR}.use_dynamic_bsz")
        self.train_tokens = self._micro_batch(f"{_ACTOR}.ppo_", dynamic)
        log_probs = (f"actor_rollout_ref.{part}.log_prob_" for part in ("rollout", "ref"))
        self.log_prob_tokens = max(self._micro_batch(prefix, dynamic) for prefix in log_probs)
        limit = f"{_ROLLOUT}.max_model_len"
        self.max_model_len = None if self.read(limit) is None else self._number(limit)
        self.test_every = self._real("trainer.test_freq")
        self.temperature = self._real(f"{_ROLLOUT}.temperature")
        self.memory_share = self._real(f"{_ROLLOUT}.gpu_memory_utilization")
        kinds = ("tensor_model", "data", "pipeline_model")
        parallel = [self._number(f"{_ROLLOUT}.{kind}_parallel_size") for kind in kinds]
        self.tensor_parallel, self.replica_gpus = parallel[0], math.prod(parallel)
        for name in ("max_num_batched_tokens", "max_num_seqs"):
            self._number(f"{_ROLLOUT}.{name}")
        self.bucket_bytes = self._number(f"{_ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes") << 20

    def _micro_batch(self, prefix: str, dynamic: bool) -> int:
        """Tokens of a micro-batch, which holds no more than its rank's part of the mini-batch."""
        most = max(1, round(self.mini_batch * self.responses / self.ranks)) * self.length // self.sequence_parallel
        if dynamic:
            return min(self._number(f"{prefix}max_token_len_per_gpu"), most)
        size = f"{prefix}micro_batch_size_per_gpu"
        return min((1 if self.read(size) is None else self._number(size)) * self.length, most)

    def _read_types(self) -> None:
        read, engine = self.read, self._engine_key
        self.master_bytes = self._bytes(f"{engine}.model_dtype", "fp32")
        self.compute_bytes = self._bytes(f"{engine}.mixed_precision.param_dtype", "bf16")
        # Of the optimizer, for one parameter: AdamW's two moments have the parameter's type.
        self.moment_bytes = 2 if "8bit" in str(self.optim.get("optimizer")) else 2 * self.master_bytes
        offload_policy = self.fsdp2 and self.engine.get("offload_policy")
        self.param_offload = bool(self.engine.get("param_offload") or offload_policy)
        self.optimizer_offload = bool(self.engine.get("optimizer_offload"))
        self.has_reference = bool(read(f"{_ACTOR}.use_kl_loss") or read("algorithm.use_kl_in_reward"))
        # Whether a forward pass with entropy precedes the update, and whether the loss has an entropy.
        self.old_log_probs = not self.is_sft and not read("algorithm.rollout_correction.bypass_mode")
        self.entropy = bool(read(f"{_ACTOR}.entropy_coeff") or read(f"{_ACTOR}.calculate_entropy"))
        if self.rollout:
            self.rollout_bytes = self._bytes(f"{_ROLLOUT}.dtype", "bf16")
            self.kv_bytes = read(f"{_ROLLOUT}.engine_kwargs.vllm.kv_cache_memory_bytes")
