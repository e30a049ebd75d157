"""What importing verl does without VERL_PLATFORM=cpu, and verl with the CPU as its device."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.cpu_engine

VERL = Path(next(iter(find_spec("verl").submodule_search_locations)))
RECIPE = Path(__file__).resolve().parents[2] / "recipe" / "tool_n1" / "config"
MARK = "@facts "


def names_that_verl_uses():
    """Every NAME of get_torch_device().NAME, and of a variable that was set to get_torch_device(), in verl's source."""
    names = set()
    for path in VERL.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        names.update(re.findall(r"get_torch_device\(\)\.(\w+)", text))
        for variable in re.findall(r"^\s*(\w+) = get_torch_device\(\)\s*$", text, re.MULTILINE):
            names.update(re.findall(rf"\b{variable}\.(\w+)\(", text))
    return sorted(names)


# What a process looks like after `import verl`, and what a recipe for GPUs composes to.
LOOK = f"""
import importlib.metadata, sys
import verl
facts["ours"] = sorted(name for name in sys.modules if name.partition(".")[0] == "tooln1")
import torch, verl.utils.torch_functional
from verl.plugin.platform import PlatformRegistry
from verl.workers.engine import EngineRegistry
here = lambda f: f.__module__ + "." + f.__qualname__
facts["platforms"] = {{name: here(PlatformRegistry.get(name)) for name in PlatformRegistry.registered_names()}}
facts["engines"] = {{name: sorted(devices) for name, devices in EngineRegistry._engines["language_model"].items()}}
facts["patched"] = dict(
    init_process_group=here(torch.distributed.init_process_group),
    version=here(importlib.metadata.version),
    log_probs=here(verl.utils.torch_functional.logprobs_from_logits_v2),
)
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
with initialize_config_dir({str(RECIPE)!r}, version_base=None):
    facts["recipe"] = OmegaConf.to_yaml(compose("tool_n1_grpo"))
"""

DEVICE = f"""
from verl.plugin.platform import get_platform
from verl.utils import device as d
module = d.get_torch_device()
facts["missing"] = [name for name in {names_that_verl_uses()!r} if not hasattr(module, name)]
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
facts["rollout"] = platform.rollout_env_vars()
platform.set_device(0); platform.synchronize(); platform.profiler_start(); platform.cudart()
with platform.nvtx_range("x"):
    platform.manual_seed(1); one = torch.rand(1); platform.manual_seed_all(1)
facts["seeded"] = torch.equal(one, torch.rand(1))

from verl.utils import memory_utils
memory_utils.reset_memory_stats()
memory_utils.aggressive_empty_cache()
facts["info"] = memory_utils.get_memory_info()
from verl.utils.profiler.performance import _get_current_mem_info
facts["performance"] = _get_current_mem_info()
from verl.utils.flops_counter import get_device_flops
facts["flops"] = get_device_flops()

# The process group that verl asks for (verl/utils/distributed.py), which names the CPU twice.
import os, socket
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = str(probe.getsockname()[1])
os.environ.update(RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", LOCAL_RANK="0", MASTER_PORT=port)
torch.distributed.init_process_group(f"cpu:gloo,{{d.get_device_name()}}:{{d.get_nccl_backend()}}")
facts["backend"] = torch.distributed.get_backend()
tensor = torch.ones(2)
torch.distributed.all_reduce(tensor)
facts["reduced"] = tensor.tolist()
torch.distributed.destroy_process_group()
"""

# verl's side of each method is replaced by a record of what it was called with.
ENGINE = """
from types import SimpleNamespace
from verl.workers.config import FSDPEngineConfig
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead as Verls
engine_class = EngineRegistry.get_engine_cls("language_model", "fsdp2")
facts["engine"] = engine_class.__name__
engine = object.__new__(engine_class)
Verls._build_fsdp_module = lambda self, module: (self.engine_config.forward_only, self.engine_config.offload_policy)
engine.engine_config = FSDPEngineConfig(forward_only=True, offload_policy=True, strategy="fsdp2")
facts["sharded_as"] = engine._build_fsdp_module(None)
facts["kept"] = engine.engine_config.forward_only
Verls._build_module = lambda self: vars(self.model_config.hf_config)
engine.model_config = SimpleNamespace(hf_config=SimpleNamespace(attn_implementation="sdpa_varlen", vocab_size=3))
facts["config"] = engine._build_module()
"""

WEIGHTS = """
import inspect
import tooln1.platforms.cpu.weight_sync as ours
verls = ours.vLLMColocateWorkerExtension
parameters = lambda function: list(inspect.signature(function).parameters)
facts["signatures"] = [parameters(c.update_weights_from_ipc) for c in (ours.CPUWorkerExtension, verls)]
class Receiver(ours.BucketedWeightReceiver):
    def __init__(self, zmq_handle, device, use_shm):
        facts["received_from"] = zmq_handle
        inspect.signature(super().__init__).bind(zmq_handle=zmq_handle, device=device, use_shm=use_shm)
    def receive_weights(self, on_bucket_received):
        inspect.signature(super().receive_weights).bind(on_bucket_received=on_bucket_received)
        for names, last in ((["a", "b"], False), (["c"], True)):
            buffer = torch.ones(2)
            on_bucket_received([(name, buffer[:1]) for name in names], last)
            buffer.zero_()  # a bucket's memory is reused
ours.BucketedWeightReceiver = Receiver
os.environ["RAY_RAYLET_PID"] = "11"
verls._get_zmq_handle = lambda self: "ipc:///tmp/verl-01.sock"
loaded = {}
extension = object.__new__(ours.CPUWorkerExtension)
extension.device = torch.device("cpu")
extension.model_runner = SimpleNamespace(reload_weights=lambda weights_iterator: loaded.update(weights_iterator))
extension.update_weights_from_ipc()
facts["loaded"] = {name: tensor.tolist() for name, tensor in loaded.items()}
"""


def look(code, **environment):
    """Run ``code`` in a new process, which chooses its platform when it imports verl; return the ``facts`` it fills."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("VERL_")}
    done = subprocess.run(
        [sys.executable, "-c", f"facts = {{}}\n{code}\nimport json; print('\\n{MARK}' + json.dumps(facts))"],
        env=clean | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(MARK))
    return json.loads(line.removeprefix(MARK))


@pytest.fixture(scope="module")
def inert():
    return look(LOOK)


@pytest.fixture(scope="module")
def cpu():
    return look(LOOK + DEVICE + ENGINE + WEIGHTS, VERL_PLATFORM=" CPU ")  # verl ignores case and blanks too


def test_without_the_variable_the_plugin_does_nothing(inert):
    # The entry point: three modules that do nothing.
    assert inert["ours"] == ["tooln1", "tooln1.platforms", "tooln1.platforms.cpu"]
    assert "cpu" not in inert["platforms"] and "cpu" not in inert["engines"]["fsdp2"]
    assert inert["patched"] == {
        "init_process_group": "torch.distributed.distributed_c10d.init_process_group",
        "version": "importlib.metadata.version",
        "log_probs": "verl.utils.torch_functional.logprobs_from_logits_v2",
    }


def test_the_variable_activates_the_platform(inert, cpu):
    assert cpu["platforms"] == inert["platforms"] | {"cpu": "tooln1.platforms.cpu.platform.PlatformCPU"}
    for name, function in cpu["patched"].items():
        assert function.startswith("tooln1.platforms.cpu.verl_patches."), name
    assert cpu["engines"] == inert["engines"] | {"fsdp2": sorted([*inert["engines"]["fsdp2"], "cpu"])}
    # A recipe means the same on every platform.
    assert cpu["recipe"] == inert["recipe"] and cpu["recipe"].count("\n") > 300


def test_every_name_that_verl_uses_exists(cpu):
    assert {"empty_cache", "mem_get_info", "current_stream"} <= set(names_that_verl_uses())
    assert cpu["missing"] == []


def test_tensors_stay_on_the_cpu(cpu):
    assert (cpu["id"], cpu["moved"], cpu["summed"]) == ("cpu", "cpu", 3.0)


def test_memory_is_the_process_and_the_machine_in_bytes(cpu):
    resident, most, free, total = cpu["counts"]
    assert 10**7 < resident <= total and 10**7 < most <= total
    assert 0 < free <= total
    assert cpu["info"]["total_memory_gb"] == pytest.approx(total / 1024**3)
    assert cpu["name"] and cpu["performance"] and cpu["flops"] > 0


def test_seeds_and_states_of_the_generator_are_torchs(cpu):
    assert cpu["same_draw"] and cpu["seeded"]


def test_the_platform_is_chosen_and_never_detected(cpu):
    assert cpu["detected"] is False


def test_generation_leaves_a_core_to_the_others(cpu):
    assert cpu["rollout"] == {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) - 1))}


def test_the_process_group_is_gloo(cpu):
    assert (cpu["backend"], cpu["reduced"]) == ("gloo", [1.0, 1.0])


def test_the_engine_is_fsdp2_without_pinned_memory_and_its_attention_stays_out_of_checkpoints(cpu):
    assert cpu["engine"] == "CPUFSDPEngineWithLMHead"
    assert (cpu["sharded_as"], cpu["kept"]) == ([False, False], True)
    assert cpu["config"] == {"vocab_size": 3}


def test_vllm_loads_copies_of_the_weights_from_this_runs_socket(cpu):
    ours, verls = cpu["signatures"]
    assert ours == verls
    assert cpu["received_from"] == "ipc:///tmp/verl-01-raylet-11.sock"
    assert cpu["loaded"] == {"a": [1.0], "b": [1.0], "c": [1.0]}
