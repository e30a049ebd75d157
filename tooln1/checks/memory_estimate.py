"""How much memory a run needs in each phase of a step, part by part, before it starts.

    phases = gpu_phases(shape, run, gpu_bytes, flash_attention=True)
    host, cpu = gpu_node(shape, run), cpu_run(shape, run, mean_prompt)

docs/doctor.md has every formula with its source. The parameters, and what a decoder layer saves for the backward pass,
are exact for transformers' own modules; the tests compare them with autograd and with models on the meta device.
"""

from dataclasses import dataclass

from tooln1.checks.model_shape import ModelShape
from tooln1.checks.upcoming_run import UpcomingRun

GIB = 1 << 30

# A process's CUDA context and libraries, and an engine's captured graphs: no configuration tells either. Reported by
# others, named in docs/doctor.md.
PROCESS_BYTES = round(1.3 * GIB)
GRAPH_BYTES = round(1.5 * GIB)

# Measured on two cores (docs/doctor.md). Ray, verl's dozen processes, the engine and the data of a CPU run whose model
# has no size; and glibc's heap over the tensors of an update, because it keeps freed blocks and attention pads.
CPU_RUN_BYTES = 2_700_000_000
HEAP_OVERHEAD = 1.3
# One of verl's processes that has imported torch, transformers and Ray, and a node's share of Ray. Measured likewise.
GPU_RANK_BYTES = 2_500_000_000
GPU_NODE_BYTES = 8_000_000_000

# verl's fused kernel works on as many tokens at a time (verl/utils/experimental/torch_functional.py).
_FUSED_CHUNK = 512
_FUSED_ELEMENT = 5 * 4  # float32: logits, probabilities, the label's one-hot, their difference and the gradient

_ADAPTERS = "LoRA (model.lora_rank=…)"
_SMALLER = "take a smaller model"


@dataclass(frozen=True)
class Part:
    """Something that takes memory, and what to change if there is too little of it."""

    name: str
    bytes: int
    hint: str = ""


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
        """The largest of the parts that a setting makes smaller."""
        return max((part for part in self.parts if part.hint), key=lambda part: part.bytes)


def trained_parameters(shape: ModelShape, run: UpcomingRun) -> int:
    """The parameters with gradients and optimizer states. Raises UserError if LoRA targets no layer."""
    if run.lora_rank:
        return shape.lora_parameters(run.lora_rank, run.model.target_modules, run.model.get("exclude_modules"))
    return shape.parameters


def held_parameters(shape: ModelShape, run: UpcomingRun) -> int:
    """The parameters of the actor, adapters included."""
    return shape.parameters + (trained_parameters(shape, run) if run.lora_rank else 0)


def saved_per_token(shape: ModelShape, width: int, *, pads_attention: bool = False) -> int:
    """Bytes that autograd saves for one token in one decoder layer, in a compute type of ``width`` bytes.

    transformers' RMSNorm works in float32, so in a half precision it saves a float32 copy too.

    Args:
        pads_attention: attention as on the CPU (platforms/cpu/attention.py): over padded sequences, with keys and
            values repeated for every head. The padding itself is not counted.
    """
    norm = (4 + 2 * width) if width < 4 else 3 * width
    query, keys = shape.q_width, shape.kv_width
    saved = 2 * (norm * shape.hidden + 4)
    # The kernel's inputs, output and log-sum-exp; on the CPU also the output without its padding.
    saved += width * (5 * query if pads_attention else 2 * query + 2 * keys) + 4 * shape.heads
    saved += 4 * width * shape.intermediate
    if shape.qk_norm:
        saved += (4 + width if width < 4 else 2 * width) * (query + keys) + 4 * (shape.heads + shape.kv_heads)
    return saved


def activation_bytes(shape: ModelShape, run: UpcomingRun, tokens: int) -> int:
    """The peak of the layers, without the logits, during the backward pass of a micro-batch."""
    width = run.compute_bytes
    layer = saved_per_token(shape, width, pads_attention=run.on_cpu)
    # In the layer whose backward pass runs: two gradients inside its MLP, and the gradient of its output.
    running = width * (2 * shape.intermediate + shape.hidden)
    positions = 2 * width * shape.head_dim + 8
    if run.model.get("enable_gradient_checkpointing"):
        return tokens * (shape.layers * width * shape.hidden + layer + running + positions)
    return tokens * (shape.layers * layer + running + positions)


def logit_bytes(shape: ModelShape, run: UpcomingRun, tokens: int, *, flash_attention: bool) -> int:
    """The peak of the logits and of what is computed from them, forward or backward, of a micro-batch.

    Args:
        flash_attention: whether flash-attn is installed; verl then uses its cross-entropy.
    """
    width = run.compute_bytes
    if run.model.get("use_fused_kernels"):
        chunk = _FUSED_CHUNK * shape.vocab * _FUSED_ELEMENT
        return chunk + 2 * width * shape.vocab * shape.hidden + 2 * width * tokens * shape.hidden
    # flash-attn's cross-entropy turns the logits into their gradient in place, and dividing by a temperature makes one
    # copy. Without flash-attn there are the float32 log-softmax and, at the end, two gradients.
    scaled = 0 if run.temperature == 1.0 else width
    per_token = width + scaled if flash_attention else 4 + 2 * width
    return tokens * shape.vocab * (per_token + (8 if run.entropy else 0))


def log_prob_bytes(shape: ModelShape, run: UpcomingRun) -> int:
    """The peak of a forward pass without gradients: the logits, and the widest part of one layer."""
    width, tokens = run.compute_bytes, run.log_prob_tokens
    layer = tokens * width * (2 * shape.hidden + 3 * shape.intermediate)
    if run.model.get("use_fused_kernels"):
        return layer + _FUSED_CHUNK * shape.vocab * _FUSED_ELEMENT
    per_token = width + (0 if run.temperature == 1.0 else width)
    # A compiled entropy is one kernel; otherwise it makes three float32 tensors of the logits' size.
    if run.old_log_probs and not run.engine.get("use_torch_compile"):
        per_token += 12
    return layer + tokens * shape.vocab * per_token


def gathered_bytes(shape: ModelShape, run: UpcomingRun) -> int:
    """What FSDP holds unsharded: the embeddings, two layers, and the gradients on their way to the shards."""
    if run.shard == 1:
        return 0
    width = run.compute_bytes
    if run.engine.get("reshard_after_forward"):
        # FSDP1 keeps its outermost unit, the embeddings, gathered; FSDP2 gathers each matrix alone unless they are one.
        matrices = 1 if shape.tied or run.fsdp2 else 2
        gathered = width * (matrices * shape.vocab * shape.hidden + 2 * shape.layer_parameters)
    else:
        gathered = width * shape.parameters
    if not run.lora_rank:
        gathered += (width + 4) * shape.layer_parameters + width * shape.embedding_parameters
        if run.engine.get("use_no_sync_for_gradient_accumulation"):
            gathered += width * shape.parameters
    return gathered


def gpu_phases(shape: ModelShape, run: UpcomingRun, gpu_bytes: int, *, flash_attention: bool) -> list[Phase]:
    """The phases of a step on one GPU of ``gpu_bytes``, in their order."""
    weights = Part("weights", held_parameters(shape, run) * run.master_bytes // run.shard)
    trained = trained_parameters(shape, run)
    optimizer = Part("optimizer", trained * run.moment_bytes // run.shard, f"more GPUs, or {_ADAPTERS}")
    contexts = Part("CUDA contexts", PROCESS_BYTES * (2 if run.rollout else 1))
    # Offloading empties the GPU between the trainer's phases; during them everything is there.
    training = [
        weights,
        optimizer,
        Part("gathered by FSDP", gathered_bytes(shape, run), "more GPUs, or fsdp_config.reshard_after_forward=true"),
        *_resting_engine(run, gpu_bytes),
        contexts,
    ]
    fewer = "lower data.max_token_len_per_gpu"
    if run.rollout:
        fewer = "lower actor.ppo_max_token_len_per_gpu, or raise actor.ulysses_sequence_parallel_size"
    fused, checkpointing = run.model.get("use_fused_kernels"), run.model.get("enable_gradient_checkpointing")
    activations, logits = (
        activation_bytes(shape, run, run.train_tokens),
        logit_bytes(shape, run, run.train_tokens, flash_attention=flash_attention),
    )
    update = [
        Part("gradients", trained * run.master_bytes // run.shard, f"more GPUs, or {_ADAPTERS}"),
        Part("activations", activations, fewer if checkpointing else "model.enable_gradient_checkpointing=true"),
        Part("logits", logits, fewer if fused else f"model.use_fused_kernels=true, or {fewer}"),
    ]
    if not run.rollout:
        return [Phase("update", (*training, *update))]
    log_probs = Part(
        "log-probs",
        log_prob_bytes(shape, run),
        "lower rollout.log_prob_max_token_len_per_gpu and ref.log_prob_max_token_len_per_gpu",
    )
    needs_log_probs = run.has_reference or run.old_log_probs
    return [
        _generation(run, weights, optimizer, gpu_bytes),
        *([Phase("log-probs", (*training, log_probs))] if needs_log_probs else []),
        Phase("update", (*training, *update)),
        _weight_sync(shape, run, weights, optimizer, contexts),
    ]


def _graphs(run: UpcomingRun) -> list[Part]:
    if run.rollout.enforce_eager:
        return []
    return [Part("captured graphs", GRAPH_BYTES, "rollout.enforce_eager=true")]


def _resting_engine(run: UpcomingRun, gpu_bytes: int) -> list[Part]:
    """What the engine holds while the trainer works."""
    if not run.rollout:
        return []
    if run.rollout.free_cache_engine:
        return _graphs(run)
    return [
        Part("awake engine", round(run.rollout.gpu_memory_utilization * gpu_bytes), "rollout.free_cache_engine=true")
    ]


def _generation(run: UpcomingRun, weights: Part, optimizer: Part, gpu_bytes: int) -> Phase:
    engine = Part(
        "engine's share",
        round(run.rollout.gpu_memory_utilization * gpu_bytes),
        "lower rollout.gpu_memory_utilization",
    )
    resident = []
    if not run.param_offload:
        resident.append(Part("weights", weights.bytes, "actor.fsdp_config.param_offload=true"))
    if not run.engine.get("optimizer_offload"):
        resident.append(Part("optimizer", optimizer.bytes, "actor.fsdp_config.optimizer_offload=true"))
    # The engine's share includes its own context and graphs.
    return Phase("generation", (engine, *resident, Part("CUDA contexts", PROCESS_BYTES)))


def _weight_sync(shape: ModelShape, run: UpcomingRun, weights: Part, optimizer: Part, contexts: Part) -> Phase:
    """The engine's weights wake up beside the trainer's, and are filled tensor by tensor through a bucket."""
    tensor = shape.vocab * shape.hidden * run.master_bytes
    bucket = run.rollout.checkpoint_engine.update_weights_bucket_megabytes << 20
    parts = [
        weights,
        *([] if run.engine.get("optimizer_offload") else [optimizer]),
        Part("engine's weights", engine_weights(shape, run), "raise rollout.tensor_model_parallel_size"),
        Part(
            "tensor and bucket",
            tensor + max(bucket, tensor),
            "lower rollout.checkpoint_engine.update_weights_bucket_megabytes",
        ),
        *_graphs(run),
        contexts,
    ]
    return Phase("weight sync", tuple(parts))


def engine_weights(shape: ModelShape, run: UpcomingRun) -> int:
    return shape.parameters * run.rollout_bytes // run.tensor_parallel


def cache_tokens(shape: ModelShape, run: UpcomingRun, gpu_bytes: int) -> int:
    """How many tokens the KV cache of one replica holds; below 0 if the engine's share is too small for the weights."""
    parallel, width = run.tensor_parallel, run.rollout_bytes
    # The ranks share the heads of keys and values; ranks beyond the number of heads hold copies.
    token = shape.kv_bytes_per_token(width) // min(parallel, shape.kv_heads)
    if run.kv_bytes:
        return run.kv_bytes // token
    # The activations of one step: the widest part of a layer for every token, and float32 logits of every sequence.
    running = run.rollout.max_num_batched_tokens * width * (2 * shape.hidden + 3 * shape.intermediate) // parallel
    running += run.rollout.max_num_seqs * shape.vocab * 4 * 2
    taken = engine_weights(shape, run) + running + sum(part.bytes for part in _graphs(run)) + PROCESS_BYTES
    return (round(run.rollout.gpu_memory_utilization * gpu_bytes) - taken) // token


def cpu_run(shape: ModelShape, run: UpcomingRun, mean_prompt: float | None = None) -> Phase:
    """The peak of a run on the CPU, the update of the actor, over all its processes.

    Args:
        mean_prompt: tokens of the average prompt, if the data are at hand. A micro-batch then holds that and the
            longest response for each of its sequences; without it every sequence has the full length.
    """
    tokens = run.train_tokens
    if mean_prompt is not None:
        sequences = max(1, run.mini_batch * run.responses // run.ranks)
        tokens = min(tokens, max(run.length, round(sequences * (mean_prompt + run.response_length))))
    weights, trained = held_parameters(shape, run) * run.master_bytes, trained_parameters(shape, run)
    # FSDP gathers into separate buffers, even where there is nothing to gather from other ranks.
    copies = 1 if run.engine.get("reshard_after_forward") else 2
    overhead, adapters = HEAP_OVERHEAD * run.gpus_per_node, f"{_ADAPTERS}, or a smaller model"
    fewer = "lower data.train_batch_size or actor.ppo_max_token_len_per_gpu"
    logits = logit_bytes(shape, run, tokens, flash_attention=False)
    parts = [
        Part("processes", CPU_RUN_BYTES),
        Part("weights", copies * weights, _SMALLER),
        Part("gradients", trained * run.master_bytes, adapters),
        Part("optimizer", trained * run.moment_bytes, adapters),
        Part("activations", round(overhead * activation_bytes(shape, run, tokens)), fewer),
        Part("logits", round(overhead * logits), fewer),
    ]
    if run.has_reference and not run.lora_rank:
        parts.append(Part("reference", copies * weights, _SMALLER))
    if run.rollout:
        replicas = max(run.gpus_per_node // run.replica_gpus, 1)
        parts.append(Part("engine", replicas * engine_weights(shape, run), _SMALLER))
        cache = replicas * (run.kv_bytes or 0)
        parts.append(Part("KV cache", cache, "lower rollout.engine_kwargs.vllm.kv_cache_memory_bytes"))
    return Phase("update", tuple(parts))


def gpu_node(shape: ModelShape, run: UpcomingRun) -> Phase:
    """The peak of a GPU node's own memory: what its GPUs offload, and the loading of the model."""
    share = run.gpus_per_node / run.shard
    weights = held_parameters(shape, run) * run.master_bytes
    # Every rank loads tied embeddings, only the first loads others (verl/workers/engine/fsdp, _build_module).
    loading = weights * (run.gpus_per_node if shape.tied else 1)
    parts = [
        Part("processes", GPU_NODE_BYTES + run.gpus_per_node * 2 * GPU_RANK_BYTES),
        Part("loading", loading, "take a machine with more memory"),
    ]
    if run.has_reference and not run.lora_rank:
        parts.append(Part("reference", round(weights * share), f"{_ADAPTERS}, which needs no second model"))
    if run.param_offload:
        parts.append(Part("weights", round(weights * share), "actor.fsdp_config.param_offload=false"))
    if run.engine.get("optimizer_offload"):
        moments = trained_parameters(shape, run) * run.moment_bytes
        parts.append(Part("optimizer", round(moments * share), "actor.fsdp_config.optimizer_offload=false"))
    return Phase("host", tuple(parts))
