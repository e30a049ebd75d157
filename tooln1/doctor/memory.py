"""How much memory one GPU needs in each phase of a step, part by part, before the run exists.

    phases = estimate(shape, plan, gpu_bytes, flash_attention=True)

docs/doctor.md has every formula with its source. The saved activations of a decoder layer and the parameters are exact
for transformers' own modules (the tests compare them with what autograd saves and with models on the meta device);
what CUDA, NCCL and the engine's captured graphs hold is a constant measured by others, named there.
"""

from dataclasses import dataclass

from tooln1.doctor.plan import Plan, Rollout
from tooln1.doctor.shape import ModelShape

GIB = 1 << 30

# A process's CUDA context and libraries, and an engine's captured graphs: neither can be told from a configuration.
PROCESS_BYTES = round(1.3 * GIB)
GRAPH_BYTES = round(1.5 * GIB)

# Of this share of the memory the caching allocator can make use; the rest is lost between blocks of unequal size.
USABLE = 0.95

# verl's fused kernel works on as many tokens at a time (verl/utils/experimental/torch_functional.py).
_FUSED_CHUNK = 512
_FUSED_ELEMENT = 5 * 4  # float32: logits, probabilities, the label's one-hot, their difference and the gradient


@dataclass(frozen=True)
class Part:
    """Something that takes memory, and what to change if there is too little."""

    name: str
    bytes: int
    remedy: str = ""


@dataclass(frozen=True)
class Phase:
    """What lies in memory at the same time."""

    name: str
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def largest(self) -> Part:
        """The part to make smaller: the largest of those with a remedy."""
        return max((part for part in self.parts if part.remedy), key=lambda part: part.bytes)


def trained_parameters(shape: ModelShape, plan: Plan) -> int:
    """The parameters that have gradients and optimizer states: the adapters' with LoRA, else all."""
    if plan.lora_rank:
        return shape.lora_parameters(plan.lora_rank, plan.lora_targets, plan.lora_excludes)
    return shape.parameters


def held_parameters(shape: ModelShape, plan: Plan) -> int:
    """The parameters of the actor, adapters included."""
    return shape.parameters + (trained_parameters(shape, plan) if plan.lora_rank else 0)


def saved_per_token(shape: ModelShape, width: int, *, pads_attention: bool = False) -> int:
    """Bytes that autograd saves for one token in one decoder layer, in a compute type of ``width`` bytes.

    transformers' RMSNorm works in float32, so in a half precision it saves a float32 copy too.

    Args:
        pads_attention: attention as on the CPU (platforms/cpu/attention.py): over padded sequences, with the keys and
            values repeated for every head. The padding itself is not counted.
    """
    norm = (4 + 2 * width) if width < 4 else 3 * width
    query, keys = shape.q_width, shape.kv_width
    saved = 2 * (norm * shape.hidden + 4)
    # The kernel's inputs, its output and log-sum-exp; once more the output where it leaves the padding behind.
    saved += width * (5 * query if pads_attention else 2 * query + 2 * keys) + 4 * shape.heads
    saved += 4 * width * shape.intermediate
    if shape.qk_norm:
        saved += (4 + width if width < 4 else 2 * width) * (query + keys) + 4 * (shape.heads + shape.kv_heads)
    return saved


def activation_bytes(shape: ModelShape, plan: Plan) -> int:
    """The most that the layers hold during the backward pass of one micro-batch, logits apart."""
    width, tokens = plan.compute_bytes, plan.train_tokens
    layer = saved_per_token(shape, width, pads_attention=plan.on_cpu)
    # Of the layer whose backward pass runs: two gradients within its MLP and that of its output.
    running = width * (2 * shape.intermediate + shape.hidden)
    positions = 2 * width * shape.head_dim + 8
    if plan.checkpointing:
        return tokens * (shape.layers * width * shape.hidden + layer + running + positions)
    return tokens * (shape.layers * layer + running + positions)


def logit_bytes(shape: ModelShape, plan: Plan, *, flash_attention: bool) -> int:
    """The most that the logits and what is computed from them hold, forward or backward, of one micro-batch."""
    width = plan.compute_bytes
    if plan.fused:
        chunk = _FUSED_CHUNK * shape.vocab * _FUSED_ELEMENT
        return chunk + 2 * width * shape.vocab * shape.hidden + 2 * width * plan.train_tokens * shape.hidden
    # flash-attn's cross-entropy turns the logits into their gradient in place, and dividing them by a temperature makes
    # one copy; without it there are the float32 log-softmax and, at the end, two gradients.
    scaled = 0 if plan.temperature == 1.0 else width
    per_token = width + scaled if flash_attention else 4 + 2 * width
    if plan.entropy:
        per_token += 8
    return plan.train_tokens * shape.vocab * per_token


def log_prob_bytes(shape: ModelShape, plan: Plan) -> int:
    """The most that a forward pass without gradients holds: the logits, and of a layer its widest part."""
    width, tokens = plan.compute_bytes, plan.log_prob_tokens
    layer = tokens * width * (2 * shape.hidden + 3 * shape.intermediate)
    if plan.fused:
        return layer + _FUSED_CHUNK * shape.vocab * _FUSED_ELEMENT
    per_token = width + (0 if plan.temperature == 1.0 else width)
    # A compiled entropy is one kernel; computed step by step it makes three float32 tensors of the logits' size.
    if plan.old_log_probs and not plan.compiled:
        per_token += 12
    return layer + tokens * shape.vocab * per_token


def gathered_bytes(shape: ModelShape, plan: Plan) -> int:
    """What FSDP holds unsharded: the embeddings, two layers, and the gradients on their way to the shards."""
    if plan.shard == 1:
        return 0
    width, trains_all = plan.compute_bytes, not plan.lora_rank
    if plan.reshard:
        # FSDP1 keeps its outermost unit, the embeddings, gathered; FSDP2 gathers each matrix alone unless they are one.
        matrices = 1 if shape.tied or plan.fsdp2 else 2
        gathered = width * (matrices * shape.vocab * shape.hidden + 2 * shape.layer_parameters)
    else:
        gathered = width * shape.parameters
    if trains_all:
        gathered += (width + 4) * shape.layer_parameters + width * shape.embedding_parameters
        if plan.defers_sync:
            gathered += width * shape.parameters
    return gathered


def estimate(shape: ModelShape, plan: Plan, gpu_bytes: int, *, flash_attention: bool) -> list[Phase]:
    """The phases of a step on one GPU of ``gpu_bytes``, in their order.

    Args:
        flash_attention: whether flash-attn is installed, whose cross-entropy verl then uses.
    """
    trainer = _trainer_parts(shape, plan)
    base = Part("CUDA contexts", PROCESS_BYTES * (2 if plan.rollout else 1))
    training = [
        *trainer.values(),
        Part("gathered by FSDP", gathered_bytes(shape, plan), "more GPUs, or fsdp_config.reshard_after_forward=true"),
    ]
    micro_batch = _budget(plan, "train")
    update = [
        *training,
        Part("gradients", _sharded(trained_parameters(shape, plan), plan), "more GPUs, or LoRA (model.lora_rank=…)"),
        Part(
            "activations",
            activation_bytes(shape, plan),
            micro_batch if plan.checkpointing else "model.enable_gradient_checkpointing=true",
        ),
        Part(
            "logits",
            logit_bytes(shape, plan, flash_attention=flash_attention),
            micro_batch if plan.fused else f"model.use_fused_kernels=true, or {micro_batch}",
        ),
    ]
    phases = [Phase("update", (*update, *_resting(shape, plan, gpu_bytes), base))]
    if plan.has_reference or plan.old_log_probs:
        logits = Part("log-probs", log_prob_bytes(shape, plan), _budget(plan, "log_prob"))
        phases.insert(0, Phase("log-probs", (*training, logits, *_resting(shape, plan, gpu_bytes), base)))
    if plan.rollout:
        phases.insert(0, _generation(plan, plan.rollout, trainer, gpu_bytes))
        phases.append(_weight_sync(shape, plan, plan.rollout, trainer, base))
    return phases


def _sharded(count: int, plan: Plan) -> int:
    return count * plan.master_bytes // plan.shard


def _trainer_parts(shape: ModelShape, plan: Plan) -> dict[str, Part]:
    """What the trainer keeps on the GPU from step to step, unless it is offloaded.

    Offloading empties the GPU between the trainer's phases; during them no setting makes the weights smaller.
    """
    moments = trained_parameters(shape, plan) * plan.moment_bytes // plan.shard
    weights = _sharded(held_parameters(shape, plan), plan)
    return {
        "weights": Part("weights", weights),
        "optimizer": Part("optimizer", moments, "more GPUs, or LoRA (model.lora_rank=…)"),
    }


def _budget(plan: Plan, phase: str) -> str:
    """The setting that decides how many tokens a micro-batch has."""
    if plan.rollout is None:
        return "lower data.max_token_len_per_gpu"
    if phase == "train":
        return "lower actor.ppo_max_token_len_per_gpu, or raise actor.ulysses_sequence_parallel_size"
    return "lower rollout.log_prob_max_token_len_per_gpu and ref.log_prob_max_token_len_per_gpu"


def _resting(shape: ModelShape, plan: Plan, gpu_bytes: int) -> list[Part]:
    """What the engine holds while the trainer works."""
    if plan.rollout is None:
        return []
    if not plan.rollout.sleeps:
        held = round(plan.rollout.memory_share * gpu_bytes)
        return [Part("awake engine", held, "rollout.free_cache_engine=true")]
    return [Part("captured graphs", GRAPH_BYTES, "rollout.enforce_eager=true")] if plan.rollout.graphs else []


def _generation(plan: Plan, rollout: Rollout, trainer: dict[str, Part], gpu_bytes: int) -> Phase:
    share = Part("engine's share", round(rollout.memory_share * gpu_bytes), "lower rollout.gpu_memory_utilization")
    offloaded = {"weights": plan.param_offload, "optimizer": plan.optimizer_offload}
    settings = {"weights": "actor.fsdp_config.param_offload", "optimizer": "actor.fsdp_config.optimizer_offload"}
    resident = [
        Part(name, trainer[name].bytes, f"{settings[name]}=true") for name, away in offloaded.items() if not away
    ]
    # The engine counts its own context and graphs into its share.
    return Phase("generation", (share, *resident, Part("CUDA contexts", PROCESS_BYTES)))


def _weight_sync(shape: ModelShape, plan: Plan, rollout: Rollout, trainer: dict[str, Part], base: Part) -> Phase:
    """The engine's weights wake up beside the trainer's, and are filled tensor by tensor through a bucket."""
    engine = Part("engine's weights", engine_weights(shape, rollout), "raise rollout.tensor_model_parallel_size")
    tensor = shape.vocab * shape.hidden * plan.master_bytes
    bucket = Part(
        "tensor and bucket",
        tensor + max(rollout.bucket_bytes, tensor),
        "lower rollout.checkpoint_engine.update_weights_bucket_megabytes",
    )
    resident = [trainer["weights"]] + ([] if plan.optimizer_offload else [trainer["optimizer"]])
    graphs = [Part("captured graphs", GRAPH_BYTES, "rollout.enforce_eager=true")] if rollout.graphs else []
    return Phase("weight sync", (*resident, engine, bucket, *graphs, base))


def engine_weights(shape: ModelShape, rollout: Rollout) -> int:
    return shape.parameters * rollout.element_bytes // rollout.tensor_parallel


def cache_tokens(shape: ModelShape, rollout: Rollout, gpu_bytes: int) -> int:
    """How many tokens the KV cache of one replica holds; below 0 if its share is too small for the weights alone."""
    # Keys and values are shared out among the ranks, as far as there are heads; further ranks hold copies.
    ranks = min(rollout.tensor_parallel, shape.kv_heads)
    width = shape.kv_bytes_per_token(rollout.element_bytes) // ranks
    if rollout.kv_bytes:
        return rollout.kv_bytes // width
    # A step's activations: the widest part of a layer for every token, and float32 logits of every sequence.
    running = rollout.batched_tokens * rollout.element_bytes * (2 * shape.hidden + 3 * shape.intermediate)
    running = running // rollout.tensor_parallel + rollout.sequences * shape.vocab * 4 * 2
    graphs = GRAPH_BYTES if rollout.graphs else 0
    taken = engine_weights(shape, rollout) + running + graphs + PROCESS_BYTES
    return (round(rollout.memory_share * gpu_bytes) - taken) // width
