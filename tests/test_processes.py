"""A run's processes are found, also without their parents; nobody else's are touched."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tooln1.errors import UserError
from tooln1.processes import (
    child_environment,
    find_left_over_processes,
    stop_left_over_processes,
    temporary_folders,
)


@pytest.fixture
def start():
    """Starts a command as a run's driver would; with a folder, it carries that run's mark."""
    started = []

    def run(folder=None, command=("sleep", "60"), **options):
        environment = {**os.environ, **(child_environment(folder) if folder else {})}
        started.append(subprocess.Popen(command, env=environment, text=True, **options))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def pids(folder):
    return {process.pid for process in find_left_over_processes(folder)}


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_only_the_runs_own_processes_are_found_and_stopped(start, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    mine = [start(tmp_path / "run"), start(tmp_path / "link"), start(tmp_path / "run", start_new_session=True)]
    others = [start(), start(tmp_path / "run2")]
    assert pids(tmp_path / "run") == {process.pid for process in mine}
    monkeypatch.chdir(tmp_path)
    assert {process.pid for process in stop_left_over_processes("run")} == {process.pid for process in mine}
    # The parent can still read their exit statuses.
    assert [process.wait(5) for process in mine] == [-signal.SIGKILL] * 3
    assert [process.poll() for process in others] == [None, None]
    assert stop_left_over_processes("run") == []


@pytest.mark.parametrize(
    "command, parent_ends",
    [("setsid sleep 60 & echo $!; wait", True), ("env -i sleep 60 & echo $!; wait", False)],
    ids=["that lost its parent", "that cleared its environment"],
)
def test_a_process_is_found(command, parent_ends, start, tmp_path):
    parent = start(tmp_path, ["sh", "-c", command], stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    wait_for(lambda: psutil.Process(child).name() == "sleep")
    if parent_ends:
        parent.kill()
        parent.wait()
    assert pids(tmp_path) == ({child} if parent_ends else {parent.pid, child})
    stop_left_over_processes(tmp_path)
    assert pids(tmp_path) == set()


def test_a_process_that_renames_itself_is_found(start, tmp_path):
    pytest.importorskip("setproctitle")
    code = "import setproctitle, time; setproctitle.setproctitle('ray::worker'); print(flush=True); time.sleep(60)"
    worker = start(tmp_path, [sys.executable, "-c", code], stdout=subprocess.PIPE)
    worker.stdout.readline()
    assert "ray::worker" in psutil.Process(worker.pid).cmdline()[0]
    assert pids(tmp_path) == {worker.pid}


@pytest.mark.parametrize("patience", [0, 0.3])
def test_processes_that_ignore_sigterm_are_killed_after_the_patience(patience, start, tmp_path):
    # Like the pools that verl's data loading forks: a killed driver leaves them behind, and they ignore SIGTERM.
    stubborn = start(tmp_path, ["sh", "-c", "trap '' TERM; echo; exec sleep 60"], stdout=subprocess.PIPE)
    stubborn.stdout.readline()
    began = time.monotonic()
    stop_left_over_processes(tmp_path, patience)
    assert patience <= time.monotonic() - began < patience + 1
    assert stubborn.wait(5) == -signal.SIGKILL


def test_patience_lets_a_process_end_itself(start, tmp_path):
    process = start(tmp_path, ["sh", "-c", "trap 'exit 7' TERM; echo; sleep 60 & wait"], stdout=subprocess.PIPE)
    process.stdout.readline()
    stop_left_over_processes(tmp_path, patience=5)
    assert process.wait(5) == 7


def test_processes_that_start_while_the_others_end_are_stopped_too(start, tmp_path):
    command = "trap 'sleep 61 & exit' TERM; echo; while :; do sleep 0.05; done"
    start(tmp_path, ["sh", "-c", command], stdout=subprocess.PIPE).stdout.readline()
    assert len(stop_left_over_processes(tmp_path, patience=5)) >= 2
    assert pids(tmp_path) == set()


def test_a_child_is_killed_with_its_parent(tmp_path):
    code = (
        "import os, sys; from tooln1.processes import start_child; "
        "print(start_child(['sleep', '60'], sys.stderr, os.environ).pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    wait_for(lambda: not psutil.pid_exists(int(done.stdout)))


def test_the_caller_and_its_ancestors_are_spared(start, tmp_path):
    # Both Pythons carry the mark: the outer one starts the inner one, which starts a sleep and stops what it finds.
    inner = (
        "import subprocess; from tooln1.processes import stop_left_over_processes as stop; "
        "child = subprocess.Popen(['sleep', '60']); "
        f"print([process.pid for process in stop({str(tmp_path)!r})] == [child.pid])"
    )
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    process = start(tmp_path, [sys.executable, "-c", outer], stdout=subprocess.PIPE)
    assert process.communicate(timeout=30)[0] == "True\n"
    assert process.returncode == 0


def test_a_temporary_folder_has_room_for_the_path_of_a_socket(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    found = temporary_folders()
    assert found == temporary_folders() and found["RAY_TMPDIR"] == "/tmp" and os.path.samefile(found["TMPDIR"], long)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{found['TMPDIR']}/{'s' * 69}")
    assert (long / ("s" * 69)).exists()


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setenv(name, "/none")
    with pytest.raises(UserError, match=f"^{name}=/none: not a folder that can be written; set {name} to one"):
        temporary_folders()
