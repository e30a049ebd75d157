"""The platform class: what verl asks of a device, answered for the CPU (verl/plugin/platform/platform_base.py)."""

import os
import platform as host
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry


def _device_module() -> ModuleType:
    """torch.cpu, completed with the functions of torch.cuda that verl calls on every platform.

    Memory figures are those of this process (resident set) and of the machine, in bytes.
    """
    module = ModuleType("tooln1.platforms.cpu.device")
    module.__dict__.update({name: getattr(torch.cpu, name) for name in torch.cpu.__all__})
    process = psutil.Process(os.getpid())

    def resident(*_args) -> int:
        return process.memory_info().rss

    def mem_get_info(*_args) -> tuple[int, int]:
        memory = psutil.virtual_memory()
        return memory.available, memory.total

    def nothing(*_args, **_kwargs) -> None:
        return None

    module.memory_allocated = module.memory_reserved = resident
    module.max_memory_allocated = module.max_memory_reserved = resident
    module.mem_get_info = mem_get_info
    module.get_device_name = lambda *_args: host.processor() or host.machine()
    module.get_device_properties = lambda *_args: SimpleNamespace(
        name=module.get_device_name(), total_memory=psutil.virtual_memory().total
    )
    module.get_rng_state = lambda *_args: torch.get_rng_state()
    module.set_rng_state = lambda state, *_args: torch.set_rng_state(state)
    module.manual_seed = module.manual_seed_all = torch.manual_seed
    module.empty_cache = module.ipc_collect = module.set_per_process_memory_fraction = nothing
    module.reset_peak_memory_stats = module.reset_accumulated_memory_stats = nothing
    return module


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """One CPU "device" per process; Ray hands out logical GPUs, so verl's placement code works as it is."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _device_module()

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Never chosen by auto-detection: only by ``VERL_PLATFORM=cpu``."""
        return False

    def current_device(self) -> str:
        """``"cpu"`` rather than an index: verl passes it to ``Tensor.to``, where 0 would mean ``cuda:0``."""
        return "cpu"

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        return None

    def synchronize(self, device_index: int | None = None) -> None:
        return None

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        return None

    def empty_cache(self) -> None:
        return None

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str):
        yield

    def profiler_start(self) -> None:
        return None

    def profiler_stop(self) -> None:
        return None

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def rollout_env_vars(self) -> dict[str, str]:
        """One core less for the rollout engine: while it generates, verl hands out, scores and stores what it made."""
        return {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) - 1))}

    def is_ipc_supported(self) -> bool:
        """False: weights travel to the rollout engine through POSIX shared memory."""
        return False

    def cudart(self) -> Any:
        return None
