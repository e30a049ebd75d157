"""What several folders of tests share: the option for slow tests, and the tiny model with its data."""

import os

import pytest

# The suite is about both sides of this variable: a test that wants the CPU platform sets it for a process of its own.
os.environ.pop("VERL_PLATFORM", None)


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow too (or set TOOLN1_SLOW=1)")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; runs with --run-slow or TOOLN1_SLOW=1 only")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-slow") or os.environ.get("TOOLN1_SLOW") == "1":
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: give --run-slow or set TOOLN1_SLOW=1"))


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
    """The address of a vLLM server that `tooln1 serve` has started for the tiny model; one for all tests."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from tooln1.eval.server import served

    log = tmp_path_factory.mktemp("server") / "log.txt"
    with served(tiny_model, log, ["--max-num-seqs=8"], patience=600) as address:
        yield address
