"""The environment variables of a run on the CPU, each with its reason."""

import os
from pathlib import Path

from tooln1.processes import child_environment


def cpu_environment(run_dir: str | Path) -> dict[str, str]:
    """The environment for verl's processes: this process's own, the settings below, and the mark of the run.

    A variable that the user has set already keeps its value.
    """
    cores = str(len(os.sched_getaffinity(0)))
    defaults = {
        # Ray gives every actor one thread otherwise (it sets the variable to the actor's num_cpus).
        "OMP_NUM_THREADS": cores,
        # Trainer, rollout engine and Ray share the cores in turn: a thread that spins for milliseconds while it waits,
        # as libgomp's do, stops the others; one that sleeps at once holds up the many small operations of a tiny model.
        "GOMP_SPINCOUNT": "2000",
        # One scheduler of threads is enough: vLLM would bind its own to cores that the trainer uses in between.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # glibc returns large blocks to the system after every operation, and every page is faulted in again by
        # the next.
        "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
        "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
        "MALLOC_TOP_PAD_": str(64 << 20),
        # A compiler at run time, and seconds of it before the first reply, for one small function of the sampler.
        "TORCHDYNAMO_DISABLE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "WANDB_MODE": "offline",
    }
    return {**defaults, **os.environ, "VERL_PLATFORM": "cpu", "PYTHONUNBUFFERED": "1", **child_environment(run_dir)}
