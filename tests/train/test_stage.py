"""A stage as a child process: its log, its failure, its memory, and its end when the driver is killed."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tooln1.errors import ProcessError
from tooln1.train import stage as module
from tooln1.train.stage import MemoryWatch, run_stage

CHECKED = 10  # seconds within which something must have happened


def stage(code, tmp_path, **arguments):
    script = tmp_path / "stage.py"
    script.write_text(code)
    return run_stage([sys.executable, str(script)], os.environ, tmp_path / "logs" / "stage.log", **arguments)


def test_every_attempt_is_added_to_the_log(tmp_path):
    stage("import sys; print('out'); print('err', file=sys.stderr)", tmp_path)
    stage("print('second')", tmp_path)
    assert sorted((tmp_path / "logs" / "stage.log").read_text().split()) == ["err", "out", "second"]


def test_a_stage_gets_the_environment_that_it_is_given_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLN1_OUTSIDE", "1")
    code = "import os; print(os.environ.get('TOOLN1_OUTSIDE'), os.environ.get('TOOLN1_INSIDE'))"
    run_stage([sys.executable, "-c", code], {"TOOLN1_INSIDE": "2"}, tmp_path / "log")
    assert (tmp_path / "log").read_text() == "None 2\n"


def test_the_watch_is_called_while_the_stage_runs_and_once_after(tmp_path):
    asked = []
    stage("import time; time.sleep(1)", tmp_path, watch=lambda: asked.append(time.monotonic()))
    assert len(asked) >= 3


@pytest.mark.parametrize(
    "code, expected",
    [
        ("import sys; print('the reason'); sys.exit(3)", "ended with exit code 3"),
        ("raise ValueError('the reason')", "ended with exit code 1"),
        ("import os; print('the reason', flush=True); os.kill(os.getpid(), 9)", "was stopped by SIGKILL"),
    ],
)
def test_a_failed_stage_says_how_it_ended_and_what_it_said_last(code, expected, tmp_path):
    with pytest.raises(ProcessError) as error:
        stage(code, tmp_path)
    first, *lines = str(error.value).split("\n")
    assert expected in first and str(tmp_path / "logs" / "stage.log") in first
    assert "the reason" in lines[-1]


def test_a_long_log_is_cut_to_its_last_lines(tmp_path):
    with pytest.raises(ProcessError) as error:
        stage("import sys\nfor n in range(500): print(n, 'x' * 5000)\nsys.exit(1)", tmp_path)
    lines = str(error.value).split("\n")
    assert len(lines) == 21 and lines[-1].startswith("  499 ")
    assert max(map(len, lines[1:])) <= 302


def wait_for(condition):
    deadline = time.monotonic() + CHECKED
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stage_ends_with_its_driver(how, tmp_path):
    mark = tmp_path / "pid"
    inside = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid()) + '.'); time.sleep(600)"
    driver = (
        "import os, sys; from pathlib import Path; from tooln1.train.stage import run_stage; "
        f"run_stage([sys.executable, '-c', {inside!r}], os.environ, Path({str(tmp_path / 'log')!r}))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", driver],
        stderr=subprocess.DEVNULL,
        # A shell starts what runs in its background deaf to Ctrl-C, these tests perhaps among it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        wait_for(lambda: mark.exists() and mark.read_text().endswith("."))
        child = int(mark.read_text().rstrip("."))
        assert is_running(child)
        parent.send_signal(how)
        parent.wait(CHECKED)
        wait_for(lambda: not is_running(child))
    finally:
        parent.kill()


def test_the_peak_of_memory_counts_children(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MEMORY_SECONDS", 0.05)
    with MemoryWatch() as alone:
        time.sleep(0.3)
    with MemoryWatch() as watch:
        stage("import time; block = b'x' * 300_000_000; time.sleep(1)", tmp_path)
    assert alone.peak_gb > 0.01
    assert alone.peak_gb + 0.25 < watch.peak_gb < alone.peak_gb + 1
