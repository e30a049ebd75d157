"""The benchmarks with the data at hand, and an endpoint that knows the ground truth of their cases."""

import sys
from pathlib import Path

import pytest

# With importlib's import mode, what tests share is found by its folder.
sys.path.insert(0, str(Path(__file__).parent))

from oracle import Oracle  # noqa: E402

from tooln1.eval.acebench import AceBench  # noqa: E402
from tooln1.eval.api_bank import ApiBank  # noqa: E402

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def data():
    if not DATA.is_dir():
        pytest.skip(f"{DATA} with the benchmarks' samples is not here")
    return DATA


@pytest.fixture(scope="session")
def acebench(data):
    return AceBench(data)


@pytest.fixture(scope="session")
def api_bank(data):
    """{form: benchmark}"""
    return {form: ApiBank(data, form=form) for form in ("function_calling", "dialogues")}


@pytest.fixture
def oracle():
    with Oracle() as running:
        yield running
