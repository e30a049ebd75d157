"""Planted faults that only the doctor finds.

Only GPUs come from the test instead of CUDA. This environment's packages for the CPU are faults of a run on GPUs.
"""

import pytest
from planted_faults import ACTOR, CPU, GPU, ROLLOUT, SLOW_ROUNDS, Run, assert_exactly

from tooln1.checks import checklist, this_machine
from tooln1.checks.upcoming_run import Gpu

pytestmark = pytest.mark.cpu_engine

H100 = Gpu("NVIDIA H100 80GB HBM3", 80 << 30, 80 << 30, 9.0)
OLD_AND_BUSY = Gpu("Tesla V100", 80 << 30, 2 << 30, 7.0)

ENVIRONMENT = [
    r"versions +not installed: vllm==.*; run examples/setup_gpu\.sh vllm",
    r"attn_implementation=flash_attention_2: flash-attn is not installed; run examples/setup_gpu",
    r"torch is built for the CPU only; run examples/setup_gpu",
    r"nccl +torch was built without NCCL",
]


@pytest.fixture
def start(tiny_model, tiny_data, tmp_path, monkeypatch):
    def build(recipe, gpus=(H100,) * 8):
        monkeypatch.setattr(checklist, "probe_gpus", lambda: gpus)
        return Run(recipe, tmp_path, tiny_model, tiny_data, monkeypatch)

    return build


def test_a_good_run_on_the_cpu_has_no_fault(start):
    assert start(CPU).faults() == []


def test_the_packages_of_another_engine_are_faults(start):
    if this_machine._torch_knows_cuda():
        pytest.skip("torch is built for GPUs")
    assert_exactly(start(GPU).faults(), ENVIRONMENT)


@pytest.mark.parametrize("name", SLOW_ROUNDS)
def test_planted_faults_are_found_with_one_line_each(name, start):
    run = start(CPU)
    for _, settings, *causes in SLOW_ROUNDS[name]:
        run.plant(settings, *causes)
    assert_exactly(run.faults(), [line for line, *_ in SLOW_ROUNDS[name]])


def test_faults_of_gpus_and_nodes_are_found(start, monkeypatch):
    run = start(GPU, (OLD_AND_BUSY,) * 4)
    run.plant({"trainer.nnodes": 2, f"{ROLLOUT}.tensor_model_parallel_size": 3, f"{ACTOR}.fsdp_config.fsdp_size": 5})
    run.plant({f"{ACTOR}.ppo_mini_batch_size": 100, "data.train_batch_size": 100})
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib9")
    expected = [
        r"trainer\.n_gpus_per_node=8: 4 GPUs are there; set trainer\.n_gpus_per_node=4",
        r"compute capability 7\.0; bfloat16 and flash-attn need 8\.0",
        r"4 of 4 GPUs in use by other processes \(2\.0 of 80\.0 GiB free\)",
        r"NCCL_SOCKET_IFNAME=ib9: no such network interface",
        r"trainer\.nnodes=2: no Ray cluster is named or runs here",
        r"tensor_model_parallel_size=3: a replica takes 3 GPUs .* do not divide the run's 16 ",
        r"fsdp_size=5: does not divide 16 GPUs",
        r"ppo_mini_batch_size=100: 100 prompts × 5 responses do not divide among 16 ",
    ]
    assert_exactly(run.faults(), expected + ENVIRONMENT)
