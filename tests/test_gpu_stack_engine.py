"""The environments of examples/setup_gpu.sh, without a device: `bash tests/run.sh gpu-stack` runs these and all others.

In any other environment these tests skip.
"""

import importlib.metadata
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUP = runpy.run_path(str(ROOT / "setup.py"))
INSTALLED = {one.metadata["Name"] for one in importlib.metadata.distributions()}
ENGINE = next((name for name in ("vllm", "sglang") if name in INSTALLED), None)

if ENGINE is None:
    pytest.skip("needs the environment of examples/setup_gpu.sh", allow_module_level=True)

# The entry points of both engines in verl, and the engines' own that verl starts.
MODULES = {
    "vllm": ["verl.workers.rollout.vllm_rollout.vllm_async_server", "vllm.entrypoints.openai.api_server"],
    "sglang": ["verl.workers.rollout.sglang_rollout.async_sglang_server", "sglang.srt.entrypoints.http_server"],
}
# The functions of the driver that SGLang's kernels must find in order to be loaded. Nothing calls them.
DRIVER = (
    *("cuGetErrorString", "cuMemAddressFree", "cuMemGetAddressRange_v2", "cuMemRelease", "cuMemRetainAllocationHandle"),
    *("cuMemSetAccess", "cuMemUnmap", "cuPointerGetAttribute"),
)


@pytest.fixture
def driver(tmp_path) -> dict[str, str]:
    """The variables with which a process finds a CUDA driver: this machine's, or one without a device."""
    if (
        subprocess.run(
            [sys.executable, "-c", "import ctypes; ctypes.CDLL('libcuda.so.1')"], stderr=subprocess.DEVNULL
        ).returncode
        == 0
    ):
        return {}
    if shutil.which("cc") is None:
        pytest.skip("no CUDA driver, and no C compiler that makes one without a device")
    code = "".join(f"int {name}(void) {{ return 100; }}\n" for name in DRIVER)
    command = ["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-x", "c", "-", "-o", tmp_path / "libcuda.so.1"]
    subprocess.run(command, input=code, text=True, check=True)
    return {"LD_LIBRARY_PATH": f"{tmp_path}:{os.environ.get('LD_LIBRARY_PATH', '')}"}


def test_verls_trainer_and_the_engines_server_import_together(driver):
    code = f"import verl.trainer.main_ppo, {', '.join(MODULES[ENGINE])}"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | driver, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_doctor_has_nothing_to_say_but_of_flash_attn(tiny_model, tiny_data, tmp_path):
    lengths = ["data.max_prompt_length=512", "data.max_response_length=256", "data.train_batch_size=256"]
    lengths += ["actor_rollout_ref.actor.ppo_mini_batch_size=256"]
    engine = ["rollout_engine=sglang"] if ENGINE == "sglang" else []
    command = [sys.executable, "-m", "tooln1.cli", "doctor", "tool_n1_grpo", "--gpus", "8", "--run-dir", tmp_path]
    command += ["--model", tiny_model, "--train-file", tiny_data / "train.parquet", *lengths, *engine]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning") and "flash-attn" not in line]
    assert not warnings


@pytest.mark.parametrize("python", ["3.11", "3.12"])
@pytest.mark.parametrize("extras", [*sorted(SETUP["EXTRAS"]), f"{ENGINE},fsdp,dev"])
def test_every_extra_has_a_solution(extras, python, tmp_path):
    uv = Path(sys.executable).with_name("uv")
    overrides = SETUP["GPU_OVERRIDES"]
    if extras == "cpu":
        # Its torch is a build for the CPU, which general package sources do not have (examples/install_cpu.py).
        overrides = [text for text in SETUP["EXTRAS"]["cpu"] if text.startswith("torch==")]
    (tmp_path / "overrides.txt").write_text("\n".join(overrides))
    command = [uv, "pip", "compile", "--quiet", "--python-version", python, "--override", tmp_path / "overrides.txt"]
    command += [word for extra in extras.split(",") for word in ("--extra", extra)]
    done = subprocess.run([*command, ROOT / "setup.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
