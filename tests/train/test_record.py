"""run.json: bound to what a run is made of, and a history of its attempts."""

import json

import pytest

from tooln1.errors import UserError
from tooln1.train import record

MADE_OF = {"model_path": "/models/a", "train_files": ["/data/train.parquet"]}


def test_a_record_tells_the_attempt_and_those_before(tmp_path):
    record.begin(tmp_path, MADE_OF, {"command": "first", "resumed_from": None})
    running = record.read(tmp_path)
    assert running["exit"] is None and running["end"] is None
    record.end(tmp_path, "preempted", step=20)
    record.begin(tmp_path, MADE_OF, {"command": "second", "resumed_from": 20})
    record.end(tmp_path, "finished", step=40)
    now = record.read(tmp_path)
    assert (now["command"], now["exit"], now["step"], now["resumed_from"]) == ("second", "finished", 40, 20)
    (before,) = now["attempts"]
    assert (before["command"], before["exit"], before["step"]) == ("first", "preempted", 20)
    assert now["start"] >= before["start"] and now["end"] >= now["start"]
    assert now["made_of"] == MADE_OF


def test_a_record_names_versions_machine_and_commit(tmp_path):
    record.begin(tmp_path, MADE_OF, {})
    found = record.read(tmp_path)
    assert {"python", "tooln1", "verl", "torch"} <= set(found["versions"])
    assert found["hardware"]["cores"] >= 1 and found["hardware"]["memory_gb"] > 0
    assert isinstance(found["hardware"]["gpus"], list)
    assert found["git_commit"] is None or len(found["git_commit"].removesuffix("-dirty")) == 40


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"model_path": "/models/b"}, "model_path /models/a, asked for is /models/b"),
        ({"train_files": ["/data/other.parquet"]}, "train_files"),
    ],
)
def test_another_run_in_the_folder_is_refused(changes, named, tmp_path):
    record.remember(tmp_path, MADE_OF)
    with pytest.raises(UserError, match="RUN_DIR=") as error:
        record.refuse_another(tmp_path, {**MADE_OF, **changes})
    assert named in str(error.value)
    record.refuse_another(tmp_path, MADE_OF)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_file_that_is_no_record_is_named(text, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match="run.json: not the record of a run"):
        record.read(tmp_path)


def test_the_record_is_json_without_leftovers(tmp_path):
    record.remember(tmp_path, {"model_path": "/models/ä"})
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["made_of"] == {"model_path": "/models/ä"}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
