"""What verl asks its device, answered for the CPU (verl/plugin/platform/platform_base.py)."""

import contextlib
import os
import platform as host
from types import SimpleNamespace

import psutil
import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry


def _nothing(*_args, **_kwargs) -> None:
    """Does what a CPU needs of operations on accelerator memory, streams and profilers."""


def _used_memory(*_args) -> int:
    return psutil.Process().memory_info().rss


def _memory_info(*_args) -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def _device_name(*_args) -> str:
    return host.processor() or host.machine()


def _device_properties(*_args) -> SimpleNamespace:
    return SimpleNamespace(name=_device_name(), total_memory=psutil.virtual_memory().total)


# torch.cpu, completed with the functions of torch.cuda that verl calls on every platform. Memory is in bytes: this
# process's resident set, and the machine's free and total memory.
DEVICE_MODULE = SimpleNamespace(
    **{name: getattr(torch.cpu, name) for name in torch.cpu.__all__},
    **dict.fromkeys(("memory_allocated", "memory_reserved"), _used_memory),
    **dict.fromkeys(("max_memory_allocated", "max_memory_reserved"), _used_memory),
    **dict.fromkeys(("empty_cache", "ipc_collect", "set_per_process_memory_fraction"), _nothing),
    **dict.fromkeys(("reset_peak_memory_stats", "reset_accumulated_memory_stats"), _nothing),
    mem_get_info=_memory_info,
    get_device_name=_device_name,
    get_device_properties=_device_properties,
    get_rng_state=lambda *_args: torch.get_rng_state(),
    set_rng_state=lambda state, *_args: torch.set_rng_state(state),
    manual_seed=torch.manual_seed,
    manual_seed_all=torch.manual_seed,
)


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """One CPU "device" per process. Ray hands out logical GPUs, so verl's placement code works unchanged."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = DEVICE_MODULE

    manual_seed = manual_seed_all = staticmethod(torch.manual_seed)
    set_device = synchronize = set_allocator_settings = empty_cache = _nothing
    profiler_start = profiler_stop = cudart = _nothing

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Return False: verl never detects this platform, ``VERL_PLATFORM=cpu`` chooses it."""
        return False

    def current_device(self) -> str:
        """Return ``"cpu"`` and not an index: verl passes it to ``Tensor.to``, where 0 would mean ``cuda:0``."""
        return "cpu"

    def device_count(self) -> int:
        return 1

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    def nvtx_range(self, msg: str) -> contextlib.nullcontext:
        return contextlib.nullcontext()

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def rollout_env_vars(self) -> dict[str, str]:
        """Leave one core to verl, which distributes, scores and stores rollouts while the engine generates."""
        return {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) - 1))}

    def is_ipc_supported(self) -> bool:
        """Return False: weights reach the rollout engine through POSIX shared memory."""
        return False
