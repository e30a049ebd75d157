"""The memory of a node's processors: all there is for a run on the CPU, and what offloading needs beside GPUs."""

import dataclasses

from tooln1.doctor.memory import (
    Part,
    Phase,
    activation_bytes,
    engine_weights,
    held_parameters,
    logit_bytes,
    trained_parameters,
)
from tooln1.doctor.plan import Plan
from tooln1.doctor.shape import ModelShape

# Ray, verl's dozen processes, the engine and the data of a CPU run with a model of no size: measured (docs/doctor.md).
CPU_RUN_BYTES = 2_700_000_000

# What glibc's heap takes for the tensors of an update: it keeps freed blocks, and attention pads. Measured likewise.
HEAP_SHARE = 1.3

_BUDGET = "lower data.train_batch_size or actor.ppo_max_token_len_per_gpu"

# A process of verl's on a GPU node that has imported torch, transformers and Ray, and Ray's own: also measured.
GPU_RANK_BYTES = 2_500_000_000
GPU_NODE_BYTES = 8_000_000_000


def cpu_run(shape: ModelShape, plan: Plan, mean_prompt: float | None = None) -> Phase:
    """The peak of a run on the CPU (platform "cpu"), the update of the actor, over all its processes.

    Args:
        mean_prompt: tokens of the average prompt, if the data are at hand. A micro-batch then holds that and the
            longest reply for each of its sequences; without it every sequence counts in full.
    """
    plan = with_mean_prompt(plan, mean_prompt)
    ranks = plan.gpus_per_node
    weights, trained = held_parameters(shape, plan) * plan.master_bytes, trained_parameters(shape, plan)
    # FSDP gathers its units into buffers of their own, also where there is nothing to gather from others.
    copies = 1 if plan.reshard else 2
    parts = [
        Part("processes", CPU_RUN_BYTES),
        Part("weights", copies * weights, "take a smaller model"),
        Part("gradients", trained * plan.master_bytes, "LoRA (model.lora_rank=…), or a smaller model"),
        Part("optimizer", trained * plan.moment_bytes, "LoRA (model.lora_rank=…), or a smaller model"),
        Part("activations", round(HEAP_SHARE * ranks * activation_bytes(shape, plan)), _BUDGET),
        Part("logits", round(HEAP_SHARE * ranks * logit_bytes(shape, plan, flash_attention=False)), _BUDGET),
    ]
    if plan.has_reference and not plan.lora_rank:
        parts.append(Part("reference", copies * weights, "take a smaller model"))
    if plan.rollout:
        replicas = max(plan.gpus_per_node // plan.rollout.world, 1)
        parts.append(Part("engine", replicas * engine_weights(shape, plan.rollout), "take a smaller model"))
        cache = replicas * (plan.rollout.kv_bytes or 0)
        parts.append(Part("KV cache", cache, "lower rollout.engine_kwargs.vllm.kv_cache_memory_bytes"))
    return Phase("update", tuple(parts))


def with_mean_prompt(plan: Plan, mean_prompt: float | None) -> Plan:
    """The plan with micro-batches of sequences with an average prompt, where the batch does not fill the budget."""
    if mean_prompt is None:
        return plan
    sequences = max(1, plan.mini_batch * plan.replies // plan.ranks)
    most = max(plan.length, round(sequences * (mean_prompt + plan.response_length)))
    most //= plan.sequence_parallel
    return dataclasses.replace(
        plan, train_tokens=min(plan.train_tokens, most), log_prob_tokens=min(plan.log_prob_tokens, most)
    )


def gpu_node(shape: ModelShape, plan: Plan) -> Phase:
    """The peak of a GPU node's own memory: what is offloaded there from its GPUs, and the loading of the model."""
    share = plan.gpus_per_node / plan.shard
    weights = held_parameters(shape, plan) * plan.master_bytes
    # Tied embeddings are loaded by every rank, others by the first alone (verl/workers/engine/fsdp, _build_module).
    loading = weights * (plan.gpus_per_node if shape.tied else 1)
    parts = [
        Part("processes", GPU_NODE_BYTES + plan.gpus_per_node * 2 * GPU_RANK_BYTES),
        Part("loading", loading, "take a machine with more memory"),
    ]
    if plan.has_reference and not plan.lora_rank:
        parts.append(Part("reference", round(weights * share), "LoRA (model.lora_rank=…), which needs no second model"))
    if plan.param_offload:
        parts.append(Part("weights", round(weights * share), "actor.fsdp_config.param_offload=false"))
    if plan.optimizer_offload:
        moments = trained_parameters(shape, plan) * plan.moment_bytes
        parts.append(Part("optimizer", round(moments * share), "actor.fsdp_config.optimizer_offload=false"))
    return Phase("host", tuple(parts))
