"""What a composed configuration asks for, as plain numbers: the doctor's other modules read no Hydra keys for these."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tooln1.config import is_sft
from tooln1.errors import UserError

DTYPE_BYTES = {
    "fp32": 4, "float32": 4, "bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2, "half": 2, "auto": 2,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """The engine that generates, as one GPU sees it."""

    engine: str
    tensor_parallel: int
    world: int  # GPUs of one replica: tensor × data × pipeline parallel
    memory_share: float
    element_bytes: int
    batched_tokens: int
    sequences: int
    max_model_len: int | None
    sleeps: bool  # gives its memory back while the trainer works
    graphs: bool
    bucket_bytes: int
    kv_bytes: int | None  # engine_kwargs.vllm.kv_cache_memory_bytes


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run in numbers; tokens and bytes are those of one GPU unless said otherwise."""

    on_cpu: bool
    nodes: int
    gpus_per_node: int
    sequence_parallel: int
    shard: int  # GPUs that share one copy of the parameters
    fsdp2: bool
    master_bytes: int
    compute_bytes: int
    moment_bytes: int  # of the optimizer, for one parameter
    reshard: bool
    param_offload: bool
    optimizer_offload: bool
    defers_sync: bool
    lora_rank: int
    lora_targets: Any
    lora_excludes: Any
    lora_only_checkpoint: bool
    has_reference: bool
    train_tokens: int  # in a micro-batch
    log_prob_tokens: int
    checkpointing: bool
    fused: bool
    entropy: bool  # in the loss
    old_log_probs: bool  # a forward pass with entropy before the update
    compiled: bool
    temperature: float
    prompts: int  # in a step
    replies: int  # to a prompt
    mini_batch: int  # in prompts
    prompt_length: int
    response_length: int
    steps: int | None  # trainer.total_training_steps
    epochs: int
    save_every: int
    keep: int | None
    save_contents: tuple[str, ...]
    rollout: Rollout | None  # None for supervised fine-tuning

    @property
    def gpus(self) -> int:
        return self.nodes * self.gpus_per_node

    @property
    def ranks(self) -> int:
        """Data-parallel ranks: sequence parallelism makes one of several GPUs."""
        return self.gpus // self.sequence_parallel

    @property
    def length(self) -> int:
        return self.prompt_length + self.response_length


def make_plan(config: DictConfig) -> Plan:
    """Read the numbers out of a composed configuration.

    Raises:
        UserError: a number that is missing or is none, naming the setting.
    """
    read = _Reader(config)
    return _sft_plan(read) if is_sft(config) else _grpo_plan(read)


def _grpo_plan(read: "_Reader") -> Plan:
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    prompts, replies = read.number("data.train_batch_size"), read.number(f"{rollout}.n")
    length = read.number("data.max_prompt_length") + read.number("data.max_response_length")
    common = _common(read, f"{actor}.fsdp_config", f"{actor}.strategy", f"{actor}.optim", "actor_rollout_ref.model")
    ranks = common["nodes"] * common["gpus_per_node"] / common["sequence_parallel"]
    # A micro-batch holds no more than its rank's part of the mini-batch.
    mini_batch = read.number(f"{actor}.ppo_mini_batch_size")
    most = max(1, round(mini_batch * replies / ranks)) * length // common["sequence_parallel"]
    dynamic = read.flag(f"{actor}.use_dynamic_bsz")

    def tokens(budget: str, micro_batch: str) -> int:
        if dynamic:
            return min(read.number(budget), most)
        return min((read.number(micro_batch) if read.get(micro_batch) else 1) * length, most)

    budgets = {
        where: tokens(f"{where}.log_prob_max_token_len_per_gpu", f"{where}.log_prob_micro_batch_size_per_gpu")
        for where in (rollout, "actor_rollout_ref.ref")
    }
    has_reference = read.flag(f"{actor}.use_kl_loss") or read.flag("algorithm.use_kl_in_reward")
    return Plan(
        **common,
        has_reference=has_reference,
        train_tokens=tokens(f"{actor}.ppo_max_token_len_per_gpu", f"{actor}.ppo_micro_batch_size_per_gpu"),
        log_prob_tokens=max(budgets.values()),
        entropy=bool(read.get(f"{actor}.entropy_coeff")) or read.flag(f"{actor}.calculate_entropy"),
        old_log_probs=not read.flag("algorithm.rollout_correction.bypass_mode"),
        temperature=float(read.get(f"{rollout}.temperature")),
        prompts=prompts,
        replies=replies,
        mini_batch=mini_batch,
        prompt_length=read.number("data.max_prompt_length"),
        response_length=read.number("data.max_response_length"),
        keep=read.get("trainer.max_actor_ckpt_to_keep"),
        save_contents=tuple(read.get(f"{actor}.checkpoint.save_contents")),
        lora_only_checkpoint=bool(read.get(f"{actor}.checkpoint.save_lora_only")),
        rollout=_rollout(read, rollout),
    )


def _sft_plan(read: "_Reader") -> Plan:
    common = _common(read, "engine", "engine.strategy", "optim", "model")
    ranks = common["nodes"] * common["gpus_per_node"] / common["sequence_parallel"]
    prompts, length = read.number("data.train_batch_size"), read.number("data.max_length")
    most = max(1, round(prompts / ranks)) * length // common["sequence_parallel"]
    if read.flag("data.use_dynamic_bsz"):
        tokens = min(read.number("data.max_token_len_per_gpu"), most)
    else:
        tokens = min(read.number("data.micro_batch_size_per_gpu") * length, most)
    return Plan(
        **common,
        has_reference=False,
        train_tokens=tokens,
        log_prob_tokens=tokens,
        entropy=False,
        old_log_probs=False,
        temperature=1.0,
        prompts=prompts,
        replies=1,
        mini_batch=prompts,
        prompt_length=length,
        response_length=0,
        keep=read.get("trainer.max_ckpt_to_keep"),
        save_contents=tuple(read.get("checkpoint.save_contents")),
        lora_only_checkpoint=bool(read.get("checkpoint.save_lora_only")),
        rollout=None,
    )


def _common(read: "_Reader", engine: str, strategy: str, optimizer: str, model: str) -> dict[str, Any]:
    nodes, gpus = read.number("trainer.nnodes"), read.number("trainer.n_gpus_per_node")
    size = read.get(f"{engine}.fsdp_size")
    parallel = max(read.get(f"{engine}.ulysses_sequence_parallel_size") or 1, _actor_parallel(read))
    master = read.bytes_of(f"{engine}.model_dtype", "fp32")
    eight_bit = "8bit" in str(read.get(f"{optimizer}.optimizer"))
    fsdp2 = read.get(strategy) == "fsdp2"
    return {
        "on_cpu": read.get("trainer.device") == "cpu",
        "nodes": nodes,
        "gpus_per_node": gpus,
        "sequence_parallel": parallel,
        "shard": size if isinstance(size, int) and 0 < size < nodes * gpus else nodes * gpus,
        "fsdp2": fsdp2,
        "master_bytes": master,
        "compute_bytes": read.bytes_of(f"{engine}.mixed_precision.param_dtype", "bf16"),
        "moment_bytes": 2 if eight_bit else 2 * master,
        "reshard": read.flag(f"{engine}.reshard_after_forward"),
        "param_offload": read.flag(f"{engine}.param_offload") or (fsdp2 and read.flag(f"{engine}.offload_policy")),
        "optimizer_offload": read.flag(f"{engine}.optimizer_offload"),
        "defers_sync": read.flag(f"{engine}.use_no_sync_for_gradient_accumulation"),
        "lora_rank": read.get(f"{model}.lora_rank") or 0,
        "lora_targets": read.get(f"{model}.target_modules"),
        "lora_excludes": read.get(f"{model}.exclude_modules"),
        "checkpointing": read.flag(f"{model}.enable_gradient_checkpointing"),
        "fused": read.flag(f"{model}.use_fused_kernels"),
        "compiled": read.flag(f"{engine}.use_torch_compile"),
        "steps": read.get("trainer.total_training_steps"),
        "epochs": read.number("trainer.total_epochs"),
        "save_every": read.get("trainer.save_freq") or -1,
    }


def _actor_parallel(read: "_Reader") -> int:
    return read.get("actor_rollout_ref.actor.ulysses_sequence_parallel_size") or 1


def _rollout(read: "_Reader", key: str) -> Rollout:
    parallel = read.number(f"{key}.tensor_model_parallel_size")
    replica = parallel * read.number(f"{key}.data_parallel_size") * read.number(f"{key}.pipeline_model_parallel_size")
    return Rollout(
        engine=read.get(f"{key}.name"),
        tensor_parallel=parallel,
        world=replica,
        memory_share=float(read.get(f"{key}.gpu_memory_utilization")),
        element_bytes=read.bytes_of(f"{key}.dtype", "bf16"),
        batched_tokens=read.number(f"{key}.max_num_batched_tokens"),
        sequences=read.number(f"{key}.max_num_seqs"),
        max_model_len=read.get(f"{key}.max_model_len"),
        sleeps=read.flag(f"{key}.free_cache_engine"),
        graphs=not read.flag(f"{key}.enforce_eager"),
        bucket_bytes=read.number(f"{key}.checkpoint_engine.update_weights_bucket_megabytes") << 20,
        kv_bytes=read.get(f"{key}.engine_kwargs.vllm.kv_cache_memory_bytes"),
    )


class _Reader:
    """Looks settings up by their dotted keys; what is not there reads as None."""

    def __init__(self, config: DictConfig):
        self._config = config

    def get(self, key: str) -> Any:
        return OmegaConf.select(self._config, key)

    def flag(self, key: str) -> bool:
        return bool(self.get(key))

    def number(self, key: str) -> int:
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"{key}={value}: expected a whole number, 1 or more")
        return value

    def bytes_of(self, key: str, default: str) -> int:
        name = str(self.get(key) or default).removeprefix("torch.")
        if name not in DTYPE_BYTES:
            raise UserError(f"{key}={name}: expected one of {', '.join(DTYPE_BYTES)}")
        return DTYPE_BYTES[name]
