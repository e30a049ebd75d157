"""How much memory a run needs in each phase of a step, part by part, before it starts.

A phase is {part: bytes}: what lies in memory at the same time. docs/doctor.md has every formula with its source. The
parameters, and what a decoder layer saves for the backward pass, are exact for transformers' own modules; the tests
compare them with autograd and with models on the meta device. Every function needs run.shape.
"""

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
CPU_SFT_BYTES = 900_000_000  # the driver and one trainer
HEAP_OVERHEAD = 1.3
# One of verl's processes that has imported torch, transformers and Ray, and a node's share of Ray. Measured likewise.
GPU_RANK_BYTES = 2_500_000_000
GPU_NODE_BYTES = 8_000_000_000

# verl's fused kernel works on as many tokens at a time (verl/utils/experimental/torch_functional.py).
_FUSED_CHUNK = 512
_FUSED_ELEMENT = 5 * 4  # float32: logits, probabilities, the label's one-hot, their difference and the gradient

Parts = dict[str, int]


def trained_parameters(run: UpcomingRun) -> int:
    """The parameters with gradients and optimizer states. Raises UserError if LoRA targets no layer."""
    if run.lora_rank:
        return run.shape.lora_parameters(run.lora_rank, run.model.target_modules, run.model.get("exclude_modules"))
    return run.shape.parameters


def held_parameters(run: UpcomingRun) -> int:
    """The parameters of the actor, adapters included."""
    return run.shape.parameters + (trained_parameters(run) if run.lora_rank else 0)


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


def activation_bytes(run: UpcomingRun, tokens: int) -> int:
    """The peak of the layers, without the logits, during the backward pass of a micro-batch."""
    shape, width = run.shape, run.compute_bytes
    layer = saved_per_token(shape, width, pads_attention=run.on_cpu)
    # In the layer whose backward pass runs: two gradients inside its MLP, and the gradient of its output.
    running = width * (2 * shape.intermediate + shape.hidden)
    positions = 2 * width * shape.head_dim + 8
    if run.model.get("enable_gradient_checkpointing"):
        return tokens * (shape.layers * width * shape.hidden + layer + running + positions)
    return tokens * (shape.layers * layer + running + positions)


def logit_bytes(run: UpcomingRun, tokens: int, *, flash_attention: bool) -> int:
    """The peak of the logits and of what is computed from them, forward or backward, of a micro-batch.

    Args:
        flash_attention: whether flash-attn is installed; verl then uses its cross-entropy.
    """
    width, vocab = run.compute_bytes, run.shape.vocab
    if run.model.get("use_fused_kernels"):
        chunk = _FUSED_CHUNK * vocab * _FUSED_ELEMENT
        return chunk + 2 * width * vocab * run.shape.hidden + 2 * width * tokens * run.shape.hidden
    # flash-attn's cross-entropy turns the logits into their gradient in place, and dividing by a temperature makes one
    # copy. Without flash-attn there are the float32 log-softmax and, at the end, two gradients.
    scaled = 0 if run.temperature == 1.0 else width
    per_token = width + scaled if flash_attention else 4 + 2 * width
    return tokens * vocab * (per_token + (8 if run.entropy else 0))


def log_prob_bytes(run: UpcomingRun) -> int:
    """The peak of a forward pass without gradients: the logits, and the widest part of one layer."""
    shape, width, tokens = run.shape, run.compute_bytes, run.log_prob_tokens
    layer = tokens * width * (2 * shape.hidden + 3 * shape.intermediate)
    if run.model.get("use_fused_kernels"):
        return layer + _FUSED_CHUNK * shape.vocab * _FUSED_ELEMENT
    per_token = width + (0 if run.temperature == 1.0 else width)
    # A compiled entropy is one kernel; otherwise it makes three float32 tensors of the logits' size.
    if run.old_log_probs and not run.engine.get("use_torch_compile"):
        per_token += 12
    return layer + tokens * shape.vocab * per_token


def gathered_bytes(run: UpcomingRun) -> int:
    """What FSDP holds unsharded: the embeddings, two layers, and the gradients on their way to the shards."""
    if run.shard == 1:
        return 0
    shape, width = run.shape, run.compute_bytes
    gathered = width * shape.parameters
    if run.engine.get("reshard_after_forward"):
        # FSDP1 keeps its outermost unit, the embeddings, gathered; FSDP2 gathers each matrix alone unless they are one.
        matrices = 1 if shape.tied or run.fsdp2 else 2
        gathered = width * (matrices * shape.vocab * shape.hidden + 2 * shape.layer_parameters)
    if not run.lora_rank:
        gathered += (width + 4) * shape.layer_parameters + width * shape.embedding_parameters
        if run.engine.get("use_no_sync_for_gradient_accumulation"):
            gathered += width * shape.parameters
    return gathered


def gpu_phases(run: UpcomingRun, gpu_bytes: int, *, flash_attention: bool) -> dict[str, Parts]:
    """The phases of a step on one GPU of ``gpu_bytes``, in their order, and the node's own memory as "host"."""
    trained = trained_parameters(run)
    weights = held_parameters(run) * run.master_bytes // run.shard
    optimizer = trained * run.moment_bytes // run.shard
    # Offloading empties the GPU between the trainer's phases; during them everything is there.
    training = {"weights": weights, "optimizer": optimizer, "gathered by FSDP": gathered_bytes(run)}
    update = training | {
        "gradients": trained * run.master_bytes // run.shard,
        "activations": activation_bytes(run, run.train_tokens),
        "logits": logit_bytes(run, run.train_tokens, flash_attention=flash_attention),
    }
    if not run.rollout:
        return {"update": update | {"CUDA contexts": PROCESS_BYTES}, "host": gpu_node(run)}

    share = round(run.memory_share * gpu_bytes)
    contexts = {"CUDA contexts": 2 * PROCESS_BYTES}
    graphs = {} if run.rollout.enforce_eager else {"captured graphs": GRAPH_BYTES}
    # What the engine holds while the trainer works.
    resting = (graphs if run.rollout.free_cache_engine else {"awake engine": share}) | contexts
    # The engine's share includes its own context and graphs.
    generation = {"engine's share": share, "CUDA contexts": PROCESS_BYTES}
    if not run.param_offload:
        generation["weights"] = weights
    if not run.optimizer_offload:
        generation["optimizer"] = optimizer
    # The engine's weights wake up beside the trainer's, and are filled tensor by tensor through a bucket.
    tensor = run.shape.vocab * run.shape.hidden * run.master_bytes
    sync = {"weights": weights, "engine's weights": engine_weights(run)}
    sync |= {} if run.optimizer_offload else {"optimizer": optimizer}
    sync |= {"tensor and bucket": tensor + max(run.bucket_bytes, tensor), **graphs, **contexts}
    phases = {"generation": generation}
    if run.has_reference or run.old_log_probs:
        phases["log-probs"] = training | {"log-probs": log_prob_bytes(run)} | resting
    return phases | {"update": update | resting, "weight sync": sync, "host": gpu_node(run)}


def engine_weights(run: UpcomingRun) -> int:
    return run.shape.parameters * run.rollout_bytes // run.tensor_parallel


def cache_tokens(run: UpcomingRun, gpu_bytes: int) -> int:
    """How many tokens the KV cache of one replica holds; below 0 if the engine's share is too small for the weights."""
    shape, width = run.shape, run.rollout_bytes
    # The ranks share the heads of keys and values; ranks beyond the number of heads hold copies.
    token = shape.kv_bytes_per_token(width) // min(run.tensor_parallel, shape.kv_heads)
    if run.kv_bytes:
        return run.kv_bytes // token
    # The activations of one step: the widest part of a layer for every token, and float32 logits of every sequence.
    widest = width * (2 * shape.hidden + 3 * shape.intermediate)
    running = run.rollout.max_num_batched_tokens * widest // run.tensor_parallel
    running += run.rollout.max_num_seqs * shape.vocab * 4 * 2
    taken = engine_weights(run) + running + (0 if run.rollout.enforce_eager else GRAPH_BYTES) + PROCESS_BYTES
    return (round(run.memory_share * gpu_bytes) - taken) // token


def gpu_node(run: UpcomingRun) -> Parts:
    """The peak of a GPU node's own memory: what its GPUs offload, and the loading of the model."""
    share = run.gpus_per_node / run.shard
    weights = held_parameters(run) * run.master_bytes
    # Every rank loads tied embeddings, only the first loads others (verl/workers/engine/fsdp, _build_module).
    parts = {
        "processes": GPU_NODE_BYTES + run.gpus_per_node * 2 * GPU_RANK_BYTES,
        "loading": weights * (run.gpus_per_node if run.shape.tied else 1),
    }
    if run.has_reference and not run.lora_rank:
        parts["reference"] = round(weights * share)
    if run.param_offload:
        parts["weights"] = round(weights * share)
    if run.optimizer_offload:
        parts["optimizer"] = round(trained_parameters(run) * run.moment_bytes * share)
    return parts


def cpu_run(run: UpcomingRun) -> Parts:
    """The peak of a run on the CPU, the update of the actor, over all its processes.

    If the average prompt is known, a micro-batch holds that and the longest response for each of its sequences;
    otherwise every sequence has the full length.
    """
    tokens = run.train_tokens
    if run.mean_prompt is not None:
        sequences = max(1, run.mini_batch * run.responses // run.ranks)
        tokens = min(tokens, max(run.length, round(sequences * (run.mean_prompt + run.response_length))))
    weights, trained = held_parameters(run) * run.master_bytes, trained_parameters(run)
    # FSDP gathers into separate buffers, even where there is nothing to gather from other ranks.
    copies = 1 if run.engine.get("reshard_after_forward") else 2
    overhead = HEAP_OVERHEAD * run.gpus_per_node
    parts = {
        "processes": CPU_RUN_BYTES if run.rollout else CPU_SFT_BYTES,
        "weights": copies * weights,
        "gradients": trained * run.master_bytes,
        "optimizer": trained * run.moment_bytes,
        "activations": round(overhead * activation_bytes(run, tokens)),
        "logits": round(overhead * logit_bytes(run, tokens, flash_attention=False)),
    }
    if run.has_reference and not run.lora_rank:
        parts["reference"] = copies * weights
    if run.rollout:
        replicas = max(run.gpus_per_node // run.replica_gpus, 1)
        parts |= {"engine": replicas * engine_weights(run), "KV cache": replicas * (run.kv_bytes or 0)}
    return parts
