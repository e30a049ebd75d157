"""The benchmarks with the data at hand, and an endpoint that knows the ground truth of their cases."""

import json
import shutil
from pathlib import Path

import pytest
from oracle import Oracle

from tooln1.eval.acebench import AceBench
from tooln1.eval.api_bank import ApiBank
from tooln1.files import write_json

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def data():
    if not DATA.is_dir():
        pytest.skip(f"{DATA} with the benchmarks' samples is not here")
    return DATA


@pytest.fixture(scope="session")
def few(data, tmp_path_factory):
    """The first cases of each category: every evaluation loads and judges all that there are."""
    folder = tmp_path_factory.mktemp("few")
    rows = json.loads((data / "api_bank" / "apibank_l1.json").read_text())
    write_json(folder / "api_bank" / "apibank_l1.json", rows[:60])
    dialogue = "lv1-lv2-samples/level-1-given-desc/AddAgenda-level-1-1.jsonl"
    (folder / "api_bank" / dialogue).parent.mkdir(parents=True)
    shutil.copy(data / "api_bank" / dialogue, folder / "api_bank" / dialogue)
    for path in (data / "acebench").rglob("data_normal_*.json"):
        copy = folder / path.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    return folder


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
