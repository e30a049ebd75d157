"""The log of an endpoint's responses: what is kept over a kill, and what is refused."""

import subprocess
import sys

import pytest

from tooln1.errors import UserError
from tooln1.response_log import ResponseLog

SETTINGS = {"model": "m", "temperature": 0.0}
LINES = [{"id": number, "response": f"é {number}"} for number in range(3)]


def write(path, settings=SETTINGS, lines=LINES):
    with ResponseLog(path, settings, ("id", "response")) as log:
        earlier = list(log)
        for line in lines:
            log.add(line)
    return earlier


def test_lines_are_appended_and_come_back(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    assert [write(path), write(path, lines=[]), write(path)] == [[], LINES, LINES]
    assert write(path) == LINES * 2


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_half_a_line_at_the_end_is_removed(tmp_path, cut):
    path = tmp_path / "log.jsonl"
    write(path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert write(path, lines=LINES[2:]) == LINES[:2]
    assert write(path) == LINES
    path.write_bytes(path.read_bytes()[:20])  # inside the settings
    assert write(path) == []


def test_responses_to_other_settings_do_not_mix(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path)
    message = r'log\.jsonl: .* with {"temperature": 0.0}, this run uses {"temperature": 1.0, "seed": 1}; .*--output'
    with pytest.raises(UserError, match=message):
        write(path, {"model": "m", "temperature": 1.0, "seed": 1})


@pytest.mark.parametrize(
    "text, message",
    [
        ("no log\n", "line 1: expected a JSON object"),
        ("\n\n", "line 1: not the settings"),
        ('{"id": 1, "response": ""}\n', "line 1: not the settings"),
        ('{"settings": {"model": "m", "temperature": 0.0}}\n{"id": 1}\n', "line 2: not a response"),
    ],
)
def test_another_file_is_refused(tmp_path, text, message):
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        write(path)
    assert path.read_text() == text


def test_two_processes_do_not_write_one_file(tmp_path):
    path = tmp_path / "log.jsonl"
    holder = (
        "import sys, time; from tooln1.response_log import ResponseLog\n"
        "log = ResponseLog(sys.argv[1], {}, ()); list(log); print(1, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", holder, path], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        with pytest.raises(UserError, match="another process writes it"):
            ResponseLog(path, {}, ())
    finally:
        process.kill()
        process.wait()
    ResponseLog(path, {}, ())
