"""A run that nothing is wrong with, for tests that spoil one thing each, and plans made of the recipes."""

import dataclasses
import functools
import json
import sys
from pathlib import Path

import pytest

# In pytest's importlib mode a test's own folder is not importable.
sys.path.insert(0, str(Path(__file__).parent))

from published_models import MODELS  # noqa: E402

from tooln1.config import compose  # noqa: E402
from tooln1.doctor.machine import Gpu, Machine, planned_machine  # noqa: E402
from tooln1.doctor.memory import GIB  # noqa: E402
from tooln1.doctor.plan import make_plan  # noqa: E402
from tooln1.doctor.shape import read_shape  # noqa: E402


@pytest.fixture(scope="session")
def make():
    """A plan of a recipe with overrides; keywords replace its numbers."""

    @functools.cache
    def plan_of(recipe, overrides):
        return make_plan(compose(recipe, overrides))

    def build(recipe="tool_n1_grpo", *overrides, **changes):
        return dataclasses.replace(plan_of(recipe, overrides), **changes)

    return build


@pytest.fixture(scope="session")
def shape_of():
    return lambda name: read_shape(MODELS[name][0], name)


@pytest.fixture(scope="session")
def gpu_machine():
    """Eight GPUs of 80 GiB, idle, on a node with all else that a run needs."""

    def build(count=8, gib=80, **changes):
        gpu = Gpu("NVIDIA H100 80GB HBM3", gib * GIB, gib * GIB, 9.0)
        gpu = dataclasses.replace(gpu, **{key: changes.pop(key) for key in ("free", "capability") if key in changes})
        machine = Machine(gpus=(gpu,) * count, memory=2**41, interfaces=frozenset({"lo", "eth0"}), torch_cuda="12.9")
        return dataclasses.replace(machine, **changes)

    return build


@pytest.fixture(scope="session")
def planned():
    return planned_machine(8, 80)


@pytest.fixture
def config_only(tmp_path):
    """A folder with the config.json of a published model, and nothing else."""

    def write(name):
        folder = tmp_path / name.rpartition("/")[2]
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(MODELS[name][0]))
        return folder

    return write
