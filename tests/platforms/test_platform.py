"""What verl asks of its device, asked of the CPU; everything in one process, since the platform is chosen once."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

VERL = Path(next(iter(find_spec("verl").submodule_search_locations)))


def names_that_verl_uses():
    """Every NAME of get_torch_device().NAME, and of a variable that was set to get_torch_device(), in verl's source."""
    names = set()
    for path in VERL.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        names.update(re.findall(r"get_torch_device\(\)\.(\w+)", text))
        for variable in re.findall(r"^\s*(\w+) = get_torch_device\(\)\s*$", text, re.MULTILINE):
            names.update(re.findall(rf"\b{variable}\.(\w+)\(", text))
    return sorted(names)


ASK = f"""
import inspect, torch, verl
from verl.plugin.platform import PlatformBase, get_platform
from verl.utils import device as d
module = d.get_torch_device()
facts["missing"] = [name for name in {names_that_verl_uses()!r} if not hasattr(module, name)]
facts["abstract"] = sorted(type(get_platform()).__abstractmethods__)
facts["nccl"] = d.get_nccl_backend()
facts["id"] = d.get_device_id()
facts["moved"] = str(torch.ones(1).to(d.get_device_id()).device)
facts["counts"] = [module.memory_allocated(), module.max_memory_reserved(0), *module.mem_get_info()]
facts["name"] = module.get_device_name()
state = module.get_rng_state()
first = torch.rand(3)
module.set_rng_state(state)
facts["same_draw"] = torch.equal(first, torch.rand(3))
module.empty_cache(); module.synchronize(); module.ipc_collect(); module.set_device("cpu")
with module.stream(module.Stream()):
    facts["summed"] = float(torch.ones(3).sum())

platform = get_platform()
facts["detected"] = platform.is_platform_available(use_smi_check=True)
with platform.nvtx_range("x"):
    pass
platform.manual_seed(1); one = torch.rand(1); platform.manual_seed_all(1)
facts["seeded"] = torch.equal(one, torch.rand(1))

from verl.utils import memory_utils, profiler
memory_utils.reset_memory_stats()
memory_utils.aggressive_empty_cache()
facts["info"] = memory_utils.get_memory_info()
from verl.utils.profiler.performance import _get_current_mem_info
facts["performance"] = _get_current_mem_info()

from verl.utils.flops_counter import FlopsCounter, get_device_flops
facts["flops"] = get_device_flops()

# The process group that verl asks for (verl/utils/distributed.py), which names the CPU twice.
import os
os.environ.update(RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", LOCAL_RANK="0")
import socket
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    os.environ["MASTER_PORT"] = str(probe.getsockname()[1])
torch.distributed.init_process_group(f"cpu:gloo,{{d.get_device_name()}}:{{d.get_nccl_backend()}}")
facts["backend"] = torch.distributed.get_backend()
tensor = torch.ones(2)
torch.distributed.all_reduce(tensor)
facts["reduced"] = tensor.tolist()
torch.distributed.destroy_process_group()

# The forward-only engine is sharded like the actor, and keeps its own settings afterwards.
from types import SimpleNamespace
from verl.workers.config import FSDPEngineConfig
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
engine_class = EngineRegistry.get_engine_cls("language_model", "fsdp2")
facts["engine"] = engine_class.__name__
seen = []
FSDPEngineWithLMHead._build_fsdp_module = lambda self, module: seen.append(
    (self.engine_config.forward_only, self.engine_config.offload_policy)
)
engine = object.__new__(engine_class)
engine.engine_config = FSDPEngineConfig(forward_only=True, offload_policy=True, strategy="fsdp2")
engine._build_fsdp_module(None)
facts["sharded_as"] = seen
facts["kept"] = engine.engine_config.forward_only
"""


@pytest.fixture(scope="module")
def asked(facts):
    return facts(ASK, VERL_PLATFORM="cpu")


def test_verls_source_was_read():
    assert {"empty_cache", "mem_get_info", "current_stream", "get_device_properties"} <= set(names_that_verl_uses())


def test_every_name_that_verl_uses_exists(asked):
    assert asked["missing"] == []
    assert asked["abstract"] == []


def test_tensors_stay_on_the_cpu(asked):
    assert (asked["id"], asked["moved"], asked["summed"]) == ("cpu", "cpu", 3.0)


def test_memory_is_the_process_and_the_machine_in_bytes(asked):
    resident, most, free, total = asked["counts"]
    assert 10**7 < resident <= total and 10**7 < most <= total
    assert 0 < free <= total
    assert asked["name"]


def test_verls_own_memory_functions_work(asked):
    assert asked["info"]["total_memory_gb"] == pytest.approx(asked["counts"][3] / 1024**3)
    assert asked["performance"]
    assert asked["flops"] > 0


def test_seeds_and_states_of_the_generator_are_torchs(asked):
    assert asked["same_draw"] and asked["seeded"]


def test_the_platform_is_never_detected_only_chosen(asked):
    assert asked["detected"] is False


def test_the_process_group_is_gloo(asked):
    assert (asked["nccl"], asked["backend"], asked["reduced"]) == ("gloo", "gloo", [1.0, 1.0])


def test_the_engine_is_fsdp2_without_pinned_memory(asked):
    assert asked["engine"] == "CPUFSDPEngineWithLMHead"
    assert asked["sharded_as"] == [[False, False]]
    assert asked["kept"] is True
