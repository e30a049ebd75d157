"""The oracle endpoint, and the benchmarks' data and environment where they are."""

import sys
from pathlib import Path

import pytest

# With importlib's import mode, what tests share is found by its folder.
sys.path.insert(0, str(Path(__file__).parent))

from oracle import Server  # noqa: E402

from tooln1.errors import UserError  # noqa: E402
from tooln1.eval.bfcl import find_python  # noqa: E402

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="session")
def data():
    if not DATA.is_dir():
        pytest.skip(f"{DATA} with the benchmarks' samples is not here")
    return DATA


@pytest.fixture(scope="session")
def bfcl_python():
    try:
        return find_python()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()
