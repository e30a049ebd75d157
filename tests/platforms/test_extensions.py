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

# vLLM's processes wait without spinning, however often the plugin is loaded.
import zmq
from vllm.distributed.device_communicators.shm_broadcast import SpinCondition
from tooln1.platforms.cpu.vllm_plugin import register
def seconds():
    return SpinCondition(True, zmq.Context.instance(), "inproc://tests").busy_loop_s
facts["spinning"] = [seconds()]
original = SpinCondition.__init__
register(); register()
facts["spinning"].append(seconds())
facts["wrapped_once"] = SpinCondition.__init__.__wrapped__ is original
import time
condition = SpinCondition(True, zmq.Context.instance(), "inproc://nobody-calls")
facts["waited"] = []
for timeout in ({}, {"timeout_ms": None}, {"timeout_ms": 60_000}, {"timeout_ms": 1}):
    started = time.monotonic()
    condition.wait(**timeout)
    facts["waited"].append(time.monotonic() - started)

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


def test_vllms_processes_sleep_while_they_wait(seen):
    before, after = seen["spinning"]
    assert before > 0 and after == 0
    assert seen["wrapped_once"]


def test_a_lost_wake_up_costs_milliseconds(seen):
    """Without a limit, a reader whose call got lost sleeps beside the message that it waits for."""
    assert max(seen["waited"]) < 1
    assert seen["waited"][0] > 0.01  # it does sleep


def test_the_replay_buffer_polls_at_its_own_interval(seen):
    assert seen["buffer_takes_interval"] and seen["poll_seconds"] < 0.1
    interval = {"poll_interval": seen["poll_seconds"]}
    assert seen["sampler"] == [[["sync"], {"trainer_config": 1, **interval}], [["sync"], interval]]


def test_an_agent_loop_is_built_once_a_name(seen):
    assert seen["same_object"] and seen["built"] == ["config of one", "config of two"]
    ours, verls = seen["run_agent_loop"]
    assert ours == verls


@pytest.mark.parametrize("value", [None, "nvidia"])
def test_the_vllm_plugin_is_inert_without_the_variable(value, facts):
    code = (
        "import sys\nfrom tooln1.platforms.cpu.vllm_plugin import register\nregister()\n"
        "facts['loaded'] = [name for name in sys.modules if name.partition('.')[0] in ('vllm', 'torch', 'verl')]"
    )
    assert facts(code, **({"VERL_PLATFORM": value} if value else {})) == {"loaded": []}


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
