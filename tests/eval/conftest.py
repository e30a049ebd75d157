"""The benchmarks with the data at hand, and an endpoint that knows the ground truth of their cases."""

from pathlib import Path

import pytest
from oracle import Oracle

from tooln1.eval.acebench import AceBench
from tooln1.eval.api_bank import ApiBank

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
