"""One run in a folder at a time; what a dead run left does not count."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from tooln1.errors import UserError
from tooln1.train.lock import RunLock

HOLD = """
import os, sys, time
from tooln1.errors import UserError
from tooln1.train.lock import RunLock
with RunLock(sys.argv[1]):
    if sys.argv[2:] == ["fork"] and os.fork() == 0:
        print(os.getpid(), flush=True)
    elif sys.argv[2:] == []:
        print("held", flush=True)
    time.sleep(60)
"""


def hold(folder, *arguments):
    """Another process that has taken the lock, and the line that it prints then."""
    command = [sys.executable, "-c", HOLD, str(folder), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def end(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_live_run_is_named_and_a_killed_one_forgotten(tmp_path):
    folder = tmp_path / "runs" / "tiny"
    other, _ = hold(folder)
    try:
        with pytest.raises(UserError) as error, RunLock(folder):
            pass
        assert f"{folder}: in use by another run since 20" in str(error.value)
        assert f", process {other.pid}; wait for it, stop it with: kill {other.pid}, or" in str(error.value)
    finally:
        end(other)
    assert json.loads((folder / "run.lock").read_text())["pid"] == other.pid  # the dead one's, and no obstacle
    with RunLock(folder):
        assert json.loads((folder / "run.lock").read_text())["pid"] == os.getpid()


def test_a_child_that_outlives_a_killed_run_does_not_hold_the_lock(tmp_path):
    other, child = hold(tmp_path, "fork")
    end(other)
    try:
        assert psutil.pid_exists(int(child))
        with RunLock(tmp_path):
            pass
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_the_lock_is_free_again_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), RunLock(tmp_path):
            raise KeyError
    with RunLock(tmp_path):
        # The second try of one process is refused without dropping the lock that the first one holds.
        with pytest.raises(UserError, match=f"process {os.getpid()}"), RunLock(tmp_path / "." / "x" / ".."):
            pass
        assert try_from_another_process(tmp_path) == "refused"
    assert try_from_another_process(tmp_path) == "taken"


def try_from_another_process(folder):
    code = """
import sys
from tooln1.errors import UserError
from tooln1.train.lock import RunLock
try:
    with RunLock(sys.argv[1]):
        print("taken")
except UserError:
    print("refused")
"""
    return subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used as a run folder"), RunLock(tmp_path / "file" / "run"):
        pass


CREATED = psutil.Process().create_time()
HERE = {"pid": os.getpid(), "create_time": CREATED, "started": "then", "host": os.uname().nodename}


@pytest.mark.parametrize(
    "record, expected",
    [
        (json.dumps(HERE), f"since then, process {HERE['pid']}; wait"),
        (json.dumps({**HERE, "host": "elsewhere"}), f"process {HERE['pid']} on elsewhere; wait"),
        (json.dumps({**HERE, "create_time": CREATED - 100}), None),  # the pid has become another process's
        (json.dumps({**HERE, "pid": 2**22 + 1}), None),  # above the largest pid that Linux gives
        ("", None),
        ('{"pid": 1', None),
        ('{"pid": "1"}', None),
        ("[]", None),
    ],
    ids=["here", "elsewhere", "pid of another", "pid of none", "empty", "cut", "pid as text", "no object"],
)
def test_without_locks_of_the_file_system_the_record_decides(record, expected, tmp_path, monkeypatch):
    def lockf(*args):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    (tmp_path / "run.lock").write_text(record)
    if expected is None:
        with RunLock(tmp_path):
            assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
    else:
        with pytest.raises(UserError, match=expected), RunLock(tmp_path):
            pass
