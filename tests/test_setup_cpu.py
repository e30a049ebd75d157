"""examples/setup_cpu.sh and examples/install_cpu.py, run for real, as far as that needs no download."""

import os
import re
import resource
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent
INSTALLER = runpy.run_path(str(ROOT / "examples" / "install_cpu.py"))


@pytest.fixture
def clone(tmp_path) -> Path:
    """The files that setting up needs, in a folder with a blank in its name, beside an empty environment, .venv."""
    root = tmp_path / "a clone"
    for name in ("setup.py", "examples/setup_cpu.sh", "examples/install_cpu.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / ".venv"], check=True)
    return root


def bash(command: str, clone: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a line of bash where no environment is active, except by ``environment``."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    # Should setting up not refuse, pip must fail rather than download.
    settings = inherited | {"CLONE": str(clone), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""} | environment
    return subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, env=settings, cwd=clone.parent)


def refusal(clone: Path, arguments: str = "cpu", **environment: str) -> str:
    """The one line with which setting up refuses to start."""
    done = bash(f'bash "$CLONE/examples/setup_cpu.sh" {arguments}', clone, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line.removeprefix("setup_cpu: ")


def give_pip(clone: Path) -> Path:
    """Give the clone's environment this one's pip, and return its folder of packages."""
    site = Path(sysconfig.get_path("purelib", vars={"base": str(clone / ".venv")}))
    (site / "pip").symlink_to(Path(sysconfig.get_path("purelib")) / "pip")
    return site


def bin_folder(parent: Path, script: str, *names: str) -> str:
    """Return a folder for PATH with this script under these names, and with the tools that setup_cpu.sh calls."""
    folder = parent / "bin"
    folder.mkdir()
    for name in names:
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    for tool in ("bash", "dirname", "touch"):
        (folder / tool).symlink_to(shutil.which(tool))
    return str(folder)


@pytest.fixture
def in_place() -> None:
    if not {"cpu", "dev"} <= INSTALLER["stamped_extras"]():
        pytest.skip("this checkout did not install this environment")


def test_an_environment_in_place_is_left_alone_in_under_a_second(in_place):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = bash('bash "$CLONE/examples/setup_cpu.sh" dev,cpu', ROOT, VIRTUAL_ENV=sys.prefix)
    assert (done.returncode, done.stdout) == (0, f"CPU environment in place: {sys.prefix}\n"), done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 1  # processor time: other tests run at the same time


def test_sourcing_activates_the_environment_and_leaves_the_shells_options_alone(in_place):
    done = bash('source "$CLONE/examples/setup_cpu.sh" cpu; echo "$-"; command -v python', ROOT, VIRTUAL_ENV=sys.prefix)
    options, python = done.stdout.splitlines()[-2:]
    assert not {"e", "u"} & set(options)
    assert python == str(Path(sys.prefix) / "bin" / "python")


def test_sourcing_passes_a_failure_on_to_a_strict_script(clone):
    done = bash('set -euo pipefail; source "$CLONE/examples/setup_cpu.sh" cpu; echo reached', clone)
    assert done.returncode == 2 and "has no pip" in done.stderr and "reached" not in done.stdout


@pytest.mark.parametrize(
    "variables, used",
    [
        ({}, "a clone/.venv"),
        ({"VIRTUAL_ENV": "active"}, "active"),
        ({"CONDA_PREFIX": "active", "CONDA_DEFAULT_ENV": "tooln1"}, "active"),
        ({"CONDA_PREFIX": "active", "CONDA_DEFAULT_ENV": "base"}, "a clone/.venv"),  # the whole machine shares it
    ],
)
def test_the_active_environment_is_used_else_the_clones(variables, used, clone, tmp_path):
    shutil.copytree(clone / ".venv", tmp_path / "active", symlinks=True)
    paths = {name: str(tmp_path / value) if value == "active" else value for name, value in variables.items()}
    assert refusal(clone, **paths).startswith(f"{tmp_path}/{used} has no pip: run ")


@pytest.mark.parametrize("active", [True, False])
def test_another_python_is_refused(active, clone, tmp_path):
    shutil.rmtree(clone / ".venv")
    commands = bin_folder(tmp_path, "exit 1", "python", "python3")  # as a Python of another version answers
    if active:
        assert refusal(clone, VIRTUAL_ENV=str(tmp_path)).startswith(f"{tmp_path} has no working Python 3.11")
    else:
        assert refusal(clone, PATH=commands).startswith("no Python 3.11 or 3.12 on PATH")


def test_an_environment_whose_making_was_interrupted_is_made_again(clone, tmp_path):
    (clone / ".venv" / "bin" / "activate").unlink()
    commands = bin_folder(tmp_path, '[[ "$1 $2" != "-m venv" ]] || touch "$3/bin/activate"', "python3.11")
    assert "has no pip" in refusal(clone, PATH=commands)
    assert (clone / ".venv" / "bin" / "activate").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("cpu,devel", "unknown extra 'devel'; the CPU environment can have cpu, dev, distill, eval, report"),
        ("vllm", "unknown extra 'vllm'"),
        ("cpu dev", "expected at most one argument"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words, clone):
    give_pip(clone)
    assert words in refusal(clone, arguments)


@pytest.mark.parametrize(
    "package, words",
    [("nvidia-cublas-cu12", "1 CUDA packages"), ("torchvision", "torchvision cannot be imported beside a CPU torch")],
)
def test_an_environment_with_packages_that_must_not_be_there_is_refused(package, words, clone):
    folder = give_pip(clone) / f"{package.replace('-', '_')}-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    assert words in refusal(clone)


def test_too_little_disk_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1.5e9))
    with pytest.raises(SystemExit):
        INSTALLER["check_disk"]()
    assert re.search(r"not enough disk: .* about [\d.]+ GB at .*, 1\.5 GB are free", capsys.readouterr().err)
