"""run.json: bound to what a run is made of, and a history of its attempts."""

import json
import time

import pytest

from tooln1.errors import UserError
from tooln1.run_folder import RunFolder
from tooln1.settings import Settings
from tooln1.train.record import Record, made_of


@pytest.fixture
def settings(tmp_path):
    return Settings("tool_n1_grpo", ("data.seed=0",), tmp_path / "run", "models/ä", "train.parquet", "test.parquet")


@pytest.fixture
def record(settings):
    settings.folder.path.mkdir()
    return Record(settings.folder)


def test_a_record_tells_the_attempt_and_those_before(record, settings):
    record.begin(settings, ["verl"], 0)
    running = record.read()
    assert running["exit"] is None and running["end"] is None
    record.note_once("seconds_to_first_step", 3.0)
    record.note_peak("peak_memory_gb", 2.0)
    record.end("preempted", step=20)
    record.begin(settings, ["verl"], 20)
    record.note_once("seconds_to_first_step", 1.0)
    record.note_peak("peak_memory_gb", 1.0)
    record.end("finished", step=40)
    now = record.read()
    assert (now["exit"], now["step"], now["resumed_from"]) == ("finished", 40, 20)
    (before,) = now["attempts"]
    assert (before["exit"], before["step"], before["resumed_from"]) == ("preempted", 20, None)
    assert now["start"] >= before["start"] and now["end"] >= now["start"]
    assert (now["seconds_to_first_step"], now["peak_memory_gb"]) == (3.0, 2.0)
    assert now["made_of"] == made_of(settings) and "made_of" not in before
    assert {"python", "tooln1", "verl"} <= set(now["versions"])
    assert now["hardware"]["cores"] >= 1 and now["hardware"]["memory_gb"] > 0
    assert [path.name for path in settings.folder.path.iterdir()] == ["run.json"]


def test_a_killed_attempt_ended_when_it_last_wrote_its_log(record, settings):
    record.begin(settings, ["verl"], 0)
    settings.folder.log.parent.mkdir()
    settings.folder.log.touch()
    record.begin(settings, ["verl"], 10)
    (killed,) = record.read()["attempts"]
    assert killed["exit"] == "killed"
    assert abs(time.mktime(time.strptime(killed["end"][:19], "%Y-%m-%dT%H:%M:%S")) - time.time()) < 60


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"model_path": "/models/b"}, "model_path models/ä, but this run has model_path /models/b"),
        ({"seed": 1}, "seed 0, but this run has seed 1"),
        ({"train_files": ["/data/other.parquet"]}, "train_files"),
    ],
)
def test_another_run_in_the_folder_is_refused(changes, named, record, settings):
    record.begin(settings, ["verl"], 0)
    with pytest.raises(UserError, match="choose another run folder") as error:
        record.refuse_another({**made_of(settings), **changes})
    assert named in str(error.value)
    record.refuse_another(made_of(settings))


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_file_that_is_no_record_is_named(text, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match="run.json: not the record of a run"):
        RunFolder(tmp_path).read_record()


def test_a_record_without_these_keys_refuses_nothing(record, settings):
    settings.folder.record.write_text(json.dumps({"made_of": {"config": settings.config}}))
    record.refuse_another(made_of(settings))
