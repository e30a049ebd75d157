"""examples/setup_gpu.sh as far as that needs no download, with a pip and a uv that write down what they are told."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUP = runpy.run_path(str(ROOT / "setup.py"))
# Imports what $IMPORTS names; a real Python reads setup.py.
PYTHON = f"""#!/bin/bash
case "$*" in
  "-c import runpy"*) exec {sys.executable} "$@" ;;
  "-c import "*) [[ " $IMPORTS " == *" ${{2##* }} "* ]] ;;
  "-m pip "*) echo "pip $*" >>"$LOG" ;;
esac
"""


@pytest.fixture
def set_up(tmp_path):
    """Runs the script in a clone with an environment; returns its exit code, its stderr, and what was installed."""
    for name in ("setup.py", "examples/setup_gpu.sh", "examples/common.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    tools, commands = tmp_path / ".venv-sglang" / "bin", tmp_path / "bin"
    for folder, name, text in (
        (tools, "activate", ""),
        (tools, "python", PYTHON),
        (tools, "uv", '#!/bin/sh\necho "uv $*" >>"$LOG"\n'),
        (commands, "nvcc", "#!/bin/sh\n"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    for name in ("bash", "dirname", "tail"):
        (commands / name).symlink_to(shutil.which(name))

    def run(*arguments, nvcc=True, imports="sglang", **variables):
        if not nvcc:
            (commands / "nvcc").unlink()
        log = tmp_path / "log"
        log.write_text("")
        settings = {"PATH": str(commands), "LOG": str(log), "IMPORTS": imports, **variables}
        command = ["bash", tmp_path / "examples" / "setup_gpu.sh", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=settings, cwd="/")
        return done.returncode, done.stderr, log.read_text().splitlines()

    return run


@pytest.mark.parametrize("arguments", [(), ("tpu",), ("vllm", "dev", "eval")])
def test_wrong_arguments_are_one_line(arguments, set_up):
    code, error, installed = set_up(*arguments)
    assert (code, installed) == (2, []) and error.startswith("setup_gpu.sh: expected vllm or sglang")
    assert len(error.splitlines()) == 1


def test_no_fitting_python_is_one_line(set_up):
    code, error, installed = set_up("vllm")
    assert (code, installed) == (2, [])
    assert error == "setup_gpu.sh: no Python of these versions on PATH: 3.12 3.11 3.10; install one\n"


def test_uv_replaces_the_requirements_that_exclude_each_other(set_up, tmp_path):
    code, error, (pip, stack) = set_up("sglang", "dev", FLASH_ATTN="0")
    assert code == 0, error
    assert pip.split()[-1] == SETUP["UV"]
    overrides = tmp_path / ".venv-sglang" / "overrides.txt"
    assert f"--override {overrides} --editable .[sglang,fsdp,dev]" in stack
    assert overrides.read_text().splitlines() == SETUP["GPU_OVERRIDES"]


def test_an_engine_that_does_not_import_beside_verl_is_said(set_up):
    code, error, _ = set_up("sglang", imports="")
    assert code == 2 and "verl and sglang do not import together" in error


@pytest.mark.parametrize(
    "nvcc, imports, code, tried",
    [(True, "sglang flash_attn", 0, []), (True, "sglang", 2, [1, 2]), (False, "sglang", 2, [1])],
)
def test_flash_attn_is_prebuilt_or_built_or_missing(nvcc, imports, code, tried, set_up):
    """A prebuilt wheel counts only if it imports."""
    found, error, (_, _, *attempts) = set_up("sglang", nvcc=nvcc, imports=imports)
    ways = {1: "--only-binary flash-attn", 2: "--no-binary flash-attn --no-build-isolation"}
    assert [ways[way] in attempt for way, attempt in zip(tried, attempts, strict=True)] == [True] * len(tried)
    assert all(attempt.endswith(SETUP["FLASH_ATTN"]) for attempt in attempts)
    assert found == code and ("all is in place but flash-attn" in error) == (code == 2)
    assert ("install CUDA" in error) != nvcc
