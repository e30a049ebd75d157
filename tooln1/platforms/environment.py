"""The environment variables of a run on the CPU, each with its reason."""

import os
from pathlib import Path

from tooln1.processes import child_environment, temporary_folders


def cpu_environment(run_dir: str | Path) -> dict[str, str]:
    """Return the environment for verl's processes: this process's environment, the settings below, the run's mark.

    Variables that the user has set keep their values.
    """
    cores = str(len(os.sched_getaffinity(0)))
    defaults = {
        # Ray gives every actor one thread otherwise (it sets the variable to the actor's num_cpus).
        "OMP_NUM_THREADS": cores,
        # Trainer and rollout engine take turns on the cores. A thread that spins for milliseconds while it waits, as
        # libgomp's do by default, blocks the others; a thread that sleeps at once slows down a tiny model's operations.
        "GOMP_SPINCOUNT": "2000",
        # vLLM would bind its threads to cores that the trainer uses too.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # By default glibc returns large blocks to the system after each operation, and the next operation faults in
        # every page again.
        "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
        "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
        "MALLOC_TOP_PAD_": str(64 << 20),
        # vLLM's sampler would compile one small function: seconds before the first response, and it needs a compiler.
        "TORCHDYNAMO_DISABLE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_USAGE_STATS_ENABLED": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "WANDB_MODE": "offline",
    }
    ours = {"VERL_PLATFORM": "cpu", "PYTHONUNBUFFERED": "1", **temporary_folders(), **child_environment(run_dir)}
    return {**defaults, **os.environ, **ours}
