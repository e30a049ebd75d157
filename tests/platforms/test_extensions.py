"""What the CPU recipe plugs into verl's and vLLM's extension points, against the classes that are installed."""

import os

import pytest

from tooln1.platforms.cpu.environment import cpu_environment

# One process for all of it: importing vLLM takes seconds.
LOOK = """
import contextlib, inspect, io, torch, verl
from types import SimpleNamespace
# Ray adds a parameter of its own to the methods of an actor.
parameters = lambda f: [name for name in inspect.signature(f).parameters if name != "_ray_trace_ctx"]

# The weights of a bucket are gone once the callback returns.
import tooln1.platforms.cpu.vllm_worker as worker
class Receiver:
    def __init__(self, zmq_handle, device, use_shm):
        facts["receiver"] = [zmq_handle, str(device), use_shm]
    def receive_weights(self, on_bucket_received):
        for names, last in ((["a", "b"], False), (["c"], True)):
            buffer = torch.ones(2)
            on_bucket_received([(name, buffer[:1]) for name in names], last)
            buffer.zero_()
original_parameters = parameters(worker.BucketedWeightReceiver.__init__)
facts["receiver_takes"] = {"zmq_handle", "device", "use_shm"} <= set(original_parameters)
facts["receive_takes"] = parameters(worker.BucketedWeightReceiver.receive_weights)
worker.BucketedWeightReceiver = Receiver
loaded = {}
extension = object.__new__(worker.CPUWorkerExtension)
extension._get_zmq_handle = lambda: "handle"
extension.device = torch.device("cpu")
extension.model_runner = SimpleNamespace(reload_weights=lambda weights_iterator: loaded.update(weights_iterator))
extension.update_weights_from_ipc()
facts["loaded"] = {name: tensor.tolist() for name, tensor in loaded.items()}
facts["extension"] = [
    parameters(cls.update_weights_from_ipc) for cls in (worker.CPUWorkerExtension, worker.vLLMColocateWorkerExtension)
]

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from tooln1.platforms.cpu.sampler import POLL_SECONDS, PromptReplayBuffer

seen = []
original = ReplayBuffer.__init__
ReplayBuffer.__init__ = lambda self, *args, **kwargs: seen.append([list(args), kwargs])
PromptReplayBuffer("sync", trainer_config=1)
PromptReplayBuffer("sync", poll_interval=2.0)
facts["sampler"] = seen
facts["poll_seconds"] = POLL_SECONDS
facts["buffer_takes_interval"] = "poll_interval" in parameters(original)

import tooln1.platforms.cpu.agent_loop as loop
base = loop.AgentLoopWorkerTQ.__ray_metadata__.modified_class
facts["run_agent_loop"] = [parameters(c._run_agent_loop) for c in (loop.CachingAgentLoopWorker, base)]
built = []
loop.hydra.utils.instantiate = lambda **kwargs: built.append(kwargs["config"]) or SimpleNamespace(state=[])
loop._agent_loop_registry.update({"one": "config of one", "two": "config of two"})
agent = object.__new__(loop.CachingAgentLoopWorker)
vars(agent).update(config=SimpleNamespace(data=None), llm_client=None, tokenizer=None, processor=None,
                   hf_model_type=None, dataset_cls=None, tools=[])
first = agent._prototype("one")
facts["same_object"] = agent._prototype("one") is first and agent._prototype("two") is not first
facts["built"] = built

# Without reward workers the agent loop's process has one of its own; handles are passed on as they are.
made = []
loop.RewardLoopWorker = lambda config: made.append(config) or SimpleNamespace(compute_score=len)
base.__init__ = lambda self, config, client, teacher, handles: facts["handles"].append(handles)
facts["handles"] = []
loop.CachingAgentLoopWorker("config", "client", None, [])
for handles in (["a handle"], None):
    loop.CachingAgentLoopWorker("config", "client", None, handles)
facts["own"] = facts["handles"][0][0].compute_score.remote([1, 2, 3])
facts["handles"] = facts["handles"][1:]
facts["reward_workers"] = made

# verl's override_config ends in checkpoints, where nobody else knows the name.
from types import SimpleNamespace as Namespace
from tooln1.platforms.cpu.engine import CPUFSDPEngineWithLMHead
verls = CPUFSDPEngineWithLMHead.__mro__[1]
engine = object.__new__(CPUFSDPEngineWithLMHead)
engine.model_config = Namespace(hf_config=Namespace(attn_implementation="sdpa_varlen", vocab_size=3))
verls._build_module = lambda self: vars(self.model_config.hf_config)
facts["config"] = engine._build_module()

# Both sides of the weight sync, for two raylets.
import os
from verl.workers.rollout.base import get_rollout_class
adapter = get_rollout_class("vllm", "async")
verls_adapter = adapter.__mro__[1]
verls_adapter.__init__ = lambda self: setattr(self, "zmq_handle", "ipc:///tmp/verl-01000000.sock")
worker.vLLMColocateWorkerExtension._get_zmq_handle = lambda self: "ipc:///tmp/verl-01000000.sock"
facts["handles_of_raylets"] = []
for raylet in ("11", "12"):
    os.environ["RAY_RAYLET_PID"] = raylet
    receiver = object.__new__(worker.CPUWorkerExtension)
    facts["handles_of_raylets"].append([adapter().zmq_handle, worker.CPUWorkerExtension._get_zmq_handle(receiver)])
facts["adapter"] = [verls_adapter.__module__, verls_adapter.__name__]

from verl.plugin.platform import get_platform
facts["rollout"] = get_platform().rollout_env_vars()
"""


@pytest.fixture(scope="module")
def seen(facts):
    return facts(LOOK, VERL_PLATFORM="cpu")


def test_the_weights_that_are_loaded_are_copies(seen):
    assert seen["loaded"] == {"a": [1.0], "b": [1.0], "c": [1.0]}
    assert seen["receiver"] == ["handle", "cpu", True]


def test_the_extension_answers_verls_calls(seen):
    ours, verls = seen["extension"]
    assert ours == verls
    assert seen["receiver_takes"] and "on_bucket_received" in seen["receive_takes"]


def test_runs_on_one_machine_sync_weights_over_sockets_of_their_own(seen):
    assert seen["adapter"] == ["verl.workers.rollout.vllm_rollout.vllm_rollout", "ServerAdapter"]
    (sender, receiver), other = seen["handles_of_raylets"]
    assert sender == receiver == "ipc:///tmp/verl-01000000-raylet-11.sock"
    assert set(other) == {"ipc:///tmp/verl-01000000-raylet-12.sock"}


def test_the_replay_buffer_polls_at_its_own_interval(seen):
    assert seen["buffer_takes_interval"] and seen["poll_seconds"] < 0.1
    interval = {"poll_interval": seen["poll_seconds"]}
    assert seen["sampler"] == [[["sync"], {"trainer_config": 1, **interval}], [["sync"], interval]]


def test_an_agent_loop_is_built_once_a_name(seen):
    assert seen["same_object"] and seen["built"] == ["config of one", "config of two"]
    ours, verls = seen["run_agent_loop"]
    assert ours == verls


def test_the_agent_loops_process_computes_the_reward(seen):
    assert seen["reward_workers"] == ["config"] and seen["own"] == 3
    assert seen["handles"] == [["a handle"], None]


def test_checkpoints_do_not_name_our_attention(seen):
    assert seen["config"] == {"vocab_size": 3}


def test_generation_leaves_a_core_to_the_others(seen):
    assert seen["rollout"] == {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) - 1))}


@pytest.mark.parametrize(
    "name, value, expected, remark",
    [
        ("OMP_NUM_THREADS", "7", "7", "the user's own setting is kept"),
        ("VLLM_CPU_OMP_THREADS_BIND", None, "nobind", "ours where there is none"),
        ("VERL_PLATFORM", "nvidia", "cpu", "this one is not a matter of taste"),
        ("HOME", "/home/someone", "/home/someone", "everything else is passed on"),
    ],
)
def test_the_environment_of_a_run(name, value, expected, remark, monkeypatch, tmp_path):
    monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv(name, value)
    assert cpu_environment(tmp_path)[name] == expected, remark


def test_threads_are_as_many_as_cores_this_process_may_use(monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3, 5})
    assert cpu_environment(tmp_path)["OMP_NUM_THREADS"] == "3"
