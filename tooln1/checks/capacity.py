"""Whether a run fits into the memory and onto the disk that are there, and what to change if it does not."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import psutil

from tooln1.checks.findings import Finding, fault, ok, warning
from tooln1.checks.memory_estimate import (
    GIB,
    Parts,
    cache_tokens,
    cpu_run,
    gpu_phases,
    held_parameters,
    trained_parameters,
)
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.run_folder import TRACKER, checkpoint_folder, checkpoint_ranks, checkpoint_steps, tracked_step

GB = 10**9

# The caching allocator can use this much of a GPU; it loses the rest between blocks of unequal size.
USABLE = 0.95

# What GRPO on the CPU needs free: 4.1 GB at the quickstart's peak, and room for other programs.
CPU_MINIMUM = 6 * GB

# Logs, rollouts, the exported model of the quickstart.
_DISK_BESIDES = 2 * GB


def check_cpu_memory(run: UpcomingRun) -> Iterator[Finding]:
    """Too little memory for a run on the CPU."""
    if not run.on_cpu:
        return
    needed, estimate = CPU_MINIMUM if run.rollout else 0, ""
    if run.shape is not None:
        run.phases = {"update": cpu_run(run)}
        size = sum(run.phases["update"].values())
        needed, estimate = max(needed, size), f"the run takes about {size / GB:.1f} GB; "
        if run.rollout and run.kv_bytes:
            run.cache_tokens = cache_tokens(run, 0)
    available, limit = available_memory()
    if available < needed:
        yield fault(
            f"{available / GB:.1f} GB available {limit}, {needed / GB:.1f} GB needed; end other programs, allow this "
            f"one more memory, or take a smaller model or batch"
        )
    yield ok(f"{estimate}{available / GB:.1f} GB available {limit}")


def check_gpu_memory(run: UpcomingRun) -> Iterator[Finding]:
    """Phases of a step that do not fit on a GPU, a KV cache that is too small, and too little memory on the node."""
    if run.shape is None or run.on_cpu or not run.gpus:
        return
    size = min(gpu.memory for gpu in run.gpus)
    flash_attention = run.planned or find_spec("flash_attn") is not None
    run.phases = gpu_phases(run, size, flash_attention=flash_attention)
    for phase, parts in run.phases.items():
        total = sum(parts.values())
        if phase == "host":
            available = available_memory()[0]
            if not run.planned and total > available:
                needed = f"about {total / GIB:.0f} GiB needed, {available / GIB:.0f} GiB there"
                yield warning(f"the node's own memory: {needed}; {_advice(run, phase, parts)}")
            continue
        needed = f"{phase}: about {total / GIB:.1f} GiB needed on a GPU of {size / GIB:.1f} GiB"
        if total > size:
            yield fault(f"{needed}; {_advice(run, phase, parts)}")
        elif total > USABLE * size:
            yield warning(f"{needed}, which fragmentation may exceed; {_advice(run, phase, parts)}")
    if run.rollout:
        run.cache_tokens = cache_tokens(run, size)
        yield from _check_cache(run)
    largest, name = max((sum(parts.values()), phase) for phase, parts in run.phases.items() if phase != "host")
    yield ok(f"every phase fits; the largest, {name}, takes {largest / GIB:.0f} GiB")


def _advice(run: UpcomingRun, phase: str, parts: Parts) -> str:
    hints = _hints(run, phase)
    size, part = max((size, part) for part, size in parts.items() if part in hints)
    return f"its largest part is {part} with {size / GIB:.1f} GiB: {hints[part]}"


def _hints(run: UpcomingRun, phase: str) -> dict[str, str]:
    """The settings that make a part smaller; nothing makes the weights smaller during the trainer's phases."""
    adapters = "LoRA (model.lora_rank=…)"
    offloads = {"weights": "actor.fsdp_config.param_offload", "optimizer": "actor.fsdp_config.optimizer_offload"}
    if phase == "host":
        hints = {part: f"{key}=false" for part, key in offloads.items()}
        hints["loading"] = "take a machine with more memory"
        return hints | {"reference": f"{adapters}, which needs no second model"}
    fewer = "lower data.max_token_len_per_gpu"
    if run.rollout:
        fewer = "lower actor.ppo_max_token_len_per_gpu, or raise actor.ulysses_sequence_parallel_size"
    checkpointing, fused = run.model.get("enable_gradient_checkpointing"), run.model.get("use_fused_kernels")
    hints = {
        "engine's share": "lower rollout.gpu_memory_utilization",
        "optimizer": f"more GPUs, or {adapters}",
        "gradients": f"more GPUs, or {adapters}",
        "gathered by FSDP": "more GPUs, or fsdp_config.reshard_after_forward=true",
        "activations": fewer if checkpointing else "model.enable_gradient_checkpointing=true",
        "logits": fewer if fused else f"model.use_fused_kernels=true, or {fewer}",
        "log-probs": "lower rollout.log_prob_max_token_len_per_gpu and ref.log_prob_max_token_len_per_gpu",
        "captured graphs": "rollout.enforce_eager=true",
        "awake engine": "rollout.free_cache_engine=true",
        "engine's weights": "raise rollout.tensor_model_parallel_size",
        "tensor and bucket": "lower rollout.checkpoint_engine.update_weights_bucket_megabytes",
    }
    return hints | ({part: f"{key}=true" for part, key in offloads.items()} if phase == "generation" else {})


def _check_cache(run: UpcomingRun) -> Iterator[Finding]:
    longest = run.max_model_len or run.shape.positions
    if run.cache_tokens < min(longest, run.length):
        yield fault(
            f"KV cache: {max(run.cache_tokens, 0)} tokens are left beside the engine's weights, fewer than the "
            f"{run.length} of one sequence; raise rollout.gpu_memory_utilization or "
            f"rollout.tensor_model_parallel_size"
        )
    elif run.cache_tokens < longest:  # vLLM refuses to start then
        yield fault(
            f"KV cache: {run.cache_tokens} tokens, fewer than rollout.max_model_len ({longest}), for which the engine "
            f"must have room; set actor_rollout_ref.rollout.max_model_len={run.length}"
        )


def available_memory(
    cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> tuple[int, str]:
    """Bytes that can still be used without swapping, and what limits them: the machine, or a cgroup."""
    bounds = [(psutil.virtual_memory().available, "on this machine")]
    for limit, room in _cgroup_rooms(cgroups, membership):
        bounds.append((room, f"under the container's limit of {limit / GB:.1f} GB"))
    return min(bounds)


def _cgroup_rooms(cgroups: Path, membership: Path) -> Iterator[tuple[int, int]]:
    """(limit, what is left of it) for this process's cgroup and those above it, in version 2 or version 1."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            base, limit_name, usage_name = cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache_name = "total_inactive_file"
        elif number == "0":
            base, limit_name, usage_name, cache_name = cgroups, "memory.max", "memory.current", "inactive_file"
        else:
            continue
        # Inside a container the path may name folders that only the host sees; the base is then the container's own.
        own = PurePosixPath(path.lstrip("/"))
        for folder in dict.fromkeys(base / part for part in (own, *own.parents)):
            try:
                limit, usage = int((folder / limit_name).read_text()), int((folder / usage_name).read_text())
                stat = dict(entry.split() for entry in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # "max": no limit
                continue
            # Cached file pages count as used, but the kernel gives them up for whoever needs the memory.
            yield limit, max(limit - usage + int(stat.get(cache_name, 0)), 0)


def check_disk(run: UpcomingRun) -> Iterator[Finding]:
    """A folder that cannot be written to, or a disk without room for the checkpoints that stay."""
    folder, needed, wanted = run.settings.checkpoints, _DISK_BESIDES, ""
    existing = folder
    while not os.path.exists(existing):  # unlike Path.exists, false where a folder above may not be read
        existing = existing.parent
    if not existing.is_dir():
        yield fault(f"{folder}: {existing} is a file; expected a folder for the run; choose another")
        return
    if not os.access(existing, os.W_OK | os.X_OK):
        yield fault(f"{folder}: {existing} is not writable; choose another run folder or change its permissions")
        return
    if run.shape is not None:
        one, count = checkpoint_bytes(run), kept_checkpoints(run)
        if count is None:
            yield warning(f"{one / GIB:.1f} GiB a checkpoint, and none is ever removed; set {_keep_key(run)}")
        needed += one * (count or 0)
        wanted = f", for {count or 0} checkpoints of {one / GB:.1f} GB and the rest of the run"
    # A resumed run replaces the checkpoints that it has. best/ links their files.
    files = (path for step in checkpoint_steps(folder) for path in checkpoint_folder(folder, step).rglob("*"))
    held = {path.stat().st_ino: path.stat().st_size for path in files if path.is_file()}
    free = shutil.disk_usage(existing).free + sum(held.values())
    if free < needed:
        yield fault(
            f"{folder}: {free / GB:.1f} GB free on this disk, {needed / GB:.1f} GB needed{wanted}; make room, choose "
            f"a run folder on another disk, or lower {_keep_key(run)}"
        )
    yield ok(f"{folder}: {free / GB:.1f} GB free, {needed / GB:.1f} GB needed{wanted}")


def check_resume(run: UpcomingRun) -> Iterator[Finding]:
    """A checkpoint to resume from that is missing, or that another number of ranks has saved."""
    folder = run.settings.checkpoints
    step = tracked_step(folder)
    if step is None or run.config.trainer.resume_mode != "auto":
        return
    checkpoint = checkpoint_folder(folder, step)
    if not checkpoint.is_dir():
        yield warning(f"{checkpoint}: missing, though {TRACKER} names it; the run resumes from an earlier checkpoint")
    saved = checkpoint_ranks(checkpoint)
    if saved not in (None, run.total_gpus):
        yield fault(
            f"{checkpoint}: saved by {saved} ranks, this run has {run.total_gpus} (trainer.nnodes × "
            f"trainer.n_gpus_per_node), and verl resumes only with the same number; use as many, or export the "
            f"checkpoint and start another run from the model"
        )
    yield ok(f"the run resumes from step {step} in {folder}")


def checkpoint_bytes(run: UpcomingRun) -> int:
    """One checkpoint on the disk, all ranks together: save_contents of model, optimizer and hf_model.

    verl writes the shards in the master type and the Hugging Face model in bfloat16
    (verl/utils/checkpoint/fsdp_checkpoint_manager.py), and every copy of the parameters.
    """
    copies, contents, size = run.total_gpus // run.shard, run.checkpoint.get("save_contents") or (), 0
    if "model" in contents:
        adapters_only = run.checkpoint.get("save_lora_only")
        kept = trained_parameters(run) if adapters_only else held_parameters(run)
        size += copies * kept * run.master_bytes
    if "optimizer" in contents:
        size += copies * trained_parameters(run) * run.moment_bytes
    if "hf_model" in contents:
        size += held_parameters(run) * 2
    return size


def kept_checkpoints(run: UpcomingRun) -> int | None:
    """How many checkpoints there are at the end, None if the number of steps is not known and none is removed."""
    if run.save_every < 1:
        return 1 if run.is_sft else 0  # verl's SFT trainer always saves its last step
    keep = run.read(_keep_key(run))
    # verl removes an only one after the next is complete (register_checkpoint). The best one stays besides.
    most = keep + (keep == 1) + run.settings.is_long_run if keep else None
    written = None if run.steps is None else -(-run.steps // run.save_every)
    return min((count for count in (most, written) if count is not None), default=None)


def _keep_key(run: UpcomingRun) -> str:
    return "trainer.max_ckpt_to_keep" if run.is_sft else "trainer.max_actor_ckpt_to_keep"
