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
    Phase,
    cache_tokens,
    cpu_run,
    gpu_node,
    gpu_phases,
    held_parameters,
    trained_parameters,
)
from tooln1.checks.model_shape import ModelShape
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.run_folder import TRACKER, checkpoint_folder, checkpoint_ranks, tracked_step

GB = 10**9

# The caching allocator can use this much of a GPU; it loses the rest between blocks of unequal size.
USABLE = 0.95

# What the CPU quickstart needs free: 4.1 GB at its peak, and some for the export, the evaluation and other programs.
CPU_MINIMUM = 6 * GB

# Logs, rollouts, the exported model of the quickstart.
_DISK_BESIDES = 2 * GB


def check_cpu_memory(run: UpcomingRun) -> Iterator[Finding]:
    """Too little memory for a run on the CPU."""
    if not run.on_cpu:
        return
    needed = CPU_MINIMUM
    if run.shape is not None:
        run.phases = [cpu_run(run.shape, run, run.mean_prompt)]
        needed = max(needed, run.phases[0].bytes)
    available, limit = available_memory()
    if available < needed:
        yield fault(
            f"{available / GB:.1f} GB available {limit}, {needed / GB:.1f} GB needed; end other programs, allow this "
            f"one more memory, or take a smaller model or batch"
        )
    else:
        yield ok(f"{needed / GB:.1f} GB needed, {available / GB:.1f} GB available {limit}")


def check_gpu_memory(run: UpcomingRun) -> Iterator[Finding]:
    """Phases of a step that do not fit on a GPU, a KV cache that is too small, and too little memory on the node."""
    if run.shape is None or run.on_cpu:
        return
    host = gpu_node(run.shape, run)
    run.phases = [host]
    available = available_memory()[0]
    if not run.planned and host.bytes > available:
        yield warning(
            f"the node's own memory: about {host.bytes / GIB:.0f} GiB needed, {available / GIB:.0f} GiB there; "
            f"{_advice(host)}"
        )
    if not run.gpus:
        return
    size = min(gpu.memory for gpu in run.gpus)
    flash_attention = run.planned or find_spec("flash_attn") is not None
    phases = gpu_phases(run.shape, run, size, flash_attention=flash_attention)
    run.phases = [*phases, host]
    problems = [problem for phase in phases for problem in _check_phase(phase, size)]
    if run.rollout:
        run.cache_tokens = cache_tokens(run.shape, run, size)
        problems += _check_cache(run)
    most = max(phases, key=lambda phase: phase.bytes)
    yield from problems or [ok(f"every phase fits; the largest, {most.name}, takes {most.bytes / GIB:.0f} GiB")]


def _check_phase(phase: Phase, size: int) -> Iterator[Finding]:
    needed = f"{phase.name}: about {phase.bytes / GIB:.1f} GiB needed on a GPU of {size / GIB:.1f} GiB"
    if phase.bytes > size:
        yield fault(f"{needed}; {_advice(phase)}")
    elif phase.bytes > USABLE * size:
        yield warning(f"{needed}, which fragmentation may exceed; {_advice(phase)}")


def _advice(phase: Phase) -> str:
    part = phase.largest
    return f"its largest part is {part.name} with {part.bytes / GIB:.1f} GiB: {part.hint}"


def _check_cache(run: UpcomingRun) -> Iterator[Finding]:
    longest = run.rollout.max_model_len or run.shape.positions
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
        one, count = checkpoint_bytes(run.shape, run), kept_checkpoints(run)
        if count is None:
            yield warning(f"{one / GIB:.1f} GiB a checkpoint, and none is ever removed; set {_keep_key(run)}")
        needed += one * (count or 0)
        wanted = f", for {count or 0} checkpoints of {one / GB:.1f} GB and the rest of the run"
    free = shutil.disk_usage(existing).free
    if free < needed:
        yield fault(
            f"{folder}: {free / GB:.1f} GB free on this disk, {needed / GB:.1f} GB needed{wanted}; make room, choose "
            f"a run folder on another disk, or lower {_keep_key(run)}"
        )
    else:
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
        return
    saved = checkpoint_ranks(checkpoint)
    if saved not in (None, run.total_gpus):
        yield fault(
            f"{checkpoint}: saved by {saved} ranks, this run has {run.total_gpus} (trainer.nnodes × "
            f"trainer.n_gpus_per_node), and verl resumes only with the same number; use as many, or export the "
            f"checkpoint and start another run from the model"
        )
    else:
        yield ok(f"the run resumes from step {step} in {folder}")


def checkpoint_bytes(shape: ModelShape, run: UpcomingRun) -> int:
    """One checkpoint on the disk, all ranks together: save_contents of model, optimizer and hf_model.

    verl writes the shards in the master type and the Hugging Face model in bfloat16
    (verl/utils/checkpoint/fsdp_checkpoint_manager.py), and every copy of the parameters.
    """
    copies, contents, size = run.total_gpus // run.shard, run.checkpoint.get("save_contents") or (), 0
    if "model" in contents:
        adapters_only = run.checkpoint.get("save_lora_only")
        kept = trained_parameters(shape, run) if adapters_only else held_parameters(shape, run)
        size += copies * kept * run.master_bytes
    if "optimizer" in contents:
        size += copies * trained_parameters(shape, run) * run.moment_bytes
    if "hf_model" in contents:
        size += held_parameters(shape, run) * 2
    return size


def kept_checkpoints(run: UpcomingRun) -> int | None:
    """How many checkpoints there are at the end, None if the number of steps is not known and none is removed."""
    every = run.config.trainer.save_freq
    if every < 1:
        return 0
    keep = run.read(_keep_key(run))
    # verl removes an old one only after the new one is complete (register_checkpoint).
    most = keep + (keep == 1) if keep else None
    written = None if run.steps is None else -(-run.steps // every)
    return min((count for count in (most, written) if count is not None), default=None)


def _keep_key(run: UpcomingRun) -> str:
    return "trainer.max_ckpt_to_keep" if run.is_sft else "trainer.max_actor_ckpt_to_keep"
