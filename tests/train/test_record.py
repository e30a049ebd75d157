"""run.json: a history of the attempts, and of what the user changed on the way."""

import time

import pytest

from tooln1.checks.same_run import Change
from tooln1.errors import UserError
from tooln1.run_folder import RunFolder
from tooln1.settings import Settings
from tooln1.train.record import Record


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
    record.begin(settings, ["verl"], 20, [Change("data.seed", 0, 1)])
    record.note_once("seconds_to_first_step", 1.0)
    record.note_peak("peak_memory_gb", 1.0)
    record.end("finished", step=40)
    now = record.read()
    assert (now["exit"], now["step"], now["resumed_from"]) == ("finished", 40, 20)
    (before,) = now["attempts"]
    assert (before["exit"], before["step"], before["resumed_from"]) == ("preempted", 20, None)
    assert now["start"] >= before["start"] and now["end"] >= now["start"]
    assert (now["seconds_to_first_step"], now["peak_memory_gb"]) == (3.0, 2.0)
    assert now["changes"] == [{"step": 20, "key": "data.seed", "old": 0, "new": 1}] and "changes" not in before
    record.begin(settings, ["verl"], 40)
    assert record.read()["changes"] == now["changes"]
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


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_file_that_is_no_record_is_named(text, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match="run.json: not the record of a run"):
        RunFolder(tmp_path).read_record()
