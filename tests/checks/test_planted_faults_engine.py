"""`tooln1 doctor` names every planted fault, and `tooln1 train` those that it takes verl to find.

Only GPUs come from the test instead of CUDA. This environment's packages for the CPU are faults of a run on GPUs.
"""

import pytest
from planted_faults import CPU, GPU, QUICK_ROUNDS, ROUND_OF_GPUS, ROUND_OF_RAY, ROUNDS_WITH_VERL, Run, assert_exactly

from tooln1.checks import checklist, this_machine
from tooln1.checks.upcoming_run import Gpu
from tooln1.cli import main

pytestmark = pytest.mark.cpu_engine

H100 = Gpu("NVIDIA H100 80GB HBM3", 80 << 30, 80 << 30, 9.0)
OLD_AND_BUSY = Gpu("Tesla V100", 80 << 30, 2 << 30, 7.0)

ENVIRONMENT = [
    "not installed: vllm==…; run examples/setup_gpu.sh vllm",
    "…attn_implementation=flash_attention_2: flash-attn is not installed; run examples/setup_gpu.sh vllm",
    "torch is built for the CPU only; run examples/setup_gpu.sh…",
]


@pytest.fixture
def start(tiny_model, tiny_data, tmp_path, monkeypatch):
    def build(recipe, gpus=(H100,) * 8):
        monkeypatch.setattr(checklist, "probe_gpus", lambda: gpus)
        return Run(recipe, tmp_path, tiny_model, tiny_data, monkeypatch)

    return build


@pytest.fixture
def command(capsys):
    """Runs a command, and returns its exit code, the faults that the doctor prints, and the errors of the others."""

    def run(name, arguments):
        capsys.readouterr()
        code = 0
        try:
            main([name, *arguments])
        except SystemExit as stop:
            code = stop.code
        out, errors = capsys.readouterr()
        assert "Traceback" not in out + errors
        found = [line[20:] for line in out.splitlines() if line.startswith("fault ")]
        return code, found, [line.removeprefix("error: ") for line in errors.splitlines()]

    return run


def test_a_good_run_on_the_cpu_has_no_fault(start, command):
    assert command("doctor", start(CPU).arguments)[:2] == (0, [])


def test_the_packages_of_another_engine_are_faults(start, command):
    if this_machine._torch_knows_cuda():
        pytest.skip("torch is built for GPUs")
    assert_exactly(command("doctor", start(GPU).arguments)[1], {}, "doctor", ENVIRONMENT)


@pytest.mark.parametrize("name", QUICK_ROUNDS)
def test_the_doctor_finds_what_train_finds_quickly(name, start, command):
    recipe, faults = QUICK_ROUNDS[name]
    code, found, errors = command("doctor", start(recipe).plant(faults).arguments)
    assert (code, errors) == (2, [])
    assert_exactly(found, faults, "doctor")


@pytest.mark.parametrize("name", ROUNDS_WITH_VERL)
def test_doctor_and_train_find_what_takes_verl(name, start, command):
    recipe, faults = ROUNDS_WITH_VERL[name]
    run = start(recipe).plant(faults)
    code, found, errors = command("doctor", run.arguments)
    assert (code, errors) == (2, [])
    assert_exactly(found, faults, "doctor")
    code, _, errors = command("train", run.arguments)
    assert code == 2
    assert_exactly(errors, faults, "train")


def test_a_cluster_that_does_not_answer_is_a_fault(start, command):
    recipe, faults = ROUND_OF_RAY
    code, found, _ = command("doctor", start(recipe).plant(faults).arguments)
    assert code == 2
    assert_exactly(found, faults, "doctor")


def test_faults_of_gpus_and_nodes_are_found(start, command):
    recipe, faults = ROUND_OF_GPUS
    run = start(recipe, (OLD_AND_BUSY,) * 4).plant(faults)
    assert_exactly(command("doctor", run.arguments)[1], faults, "doctor", ENVIRONMENT)
    assert_exactly(command("train", run.arguments)[2], faults, "train")


def test_a_planned_machine_needs_a_model_with_enough_positions(start, command):
    run = start(GPU).plant({"": [{"data.max_prompt_length": 9000}]})
    code, found, _ = command("doctor", [*run.arguments, "--gpus", "8"])
    assert code == 2
    line = "…: max_position_embeddings is 8192, fewer than the 9512 tokens of the longest sequence…"
    assert_exactly(found, {}, "doctor", [line])
