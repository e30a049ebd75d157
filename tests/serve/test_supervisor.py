"""The process above vLLM's server: signals, the time that requests get, exit codes, and what is shown."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

SERVER = """
import signal, subprocess, sys, time
def stop(number, frame):
    for line in range(20):
        print("shutdown line", line)
    time.sleep({seconds})
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) if {seconds} > 60 else None
print("ready", worker.pid if worker else 0, flush=True)
time.sleep(600)
"""


@pytest.fixture
def supervised():
    """Starts a program under the supervisor, and kills what is left of it."""
    started = []

    def start(program, patience="30"):
        command = [sys.executable, "-m", "tooln1.serve.supervisor", patience, sys.executable, "-c", program]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        started.append(subprocess.Popen(command, **streams))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_ctrl_c_ends_with_one_line_whoever_gets_the_signal(supervised):
    for send in (os.killpg, os.kill):
        process = supervised(SERVER.format(seconds=0))
        assert process.stdout.readline() == "ready 0\n"
        send(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=20)
        assert (output, process.returncode) == ("", 130)
        assert errors == "stopping: requests may finish for 30 s; a second signal ends them\n"


def test_sigterm_lets_the_server_finish_and_shows_what_it_says(supervised):
    process = supervised(SERVER.format(seconds=1))
    process.stdout.readline()
    process.terminate()
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and output.count("shutdown line") == 20


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 1)])
def test_a_second_signal_kills_the_server_and_its_workers(number, code, supervised):
    process = supervised(SERVER.format(seconds=600))
    worker = int(process.stdout.readline().split()[1])
    process.send_signal(number)
    assert process.stderr.readline()
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == code
    assert not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE


def test_after_its_time_the_server_is_killed():
    program = f"""
import sys
from tooln1.serve import supervisor
supervisor._GRACE_SECONDS = 0.5
sys.exit(supervisor.supervise([sys.executable, "-c", {SERVER.format(seconds=600)!r}], 0.5))
"""
    streams = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen([sys.executable, "-c", program], **streams)
    process.stdout.readline()
    process.terminate()
    start = time.monotonic()
    process.communicate(timeout=20)
    assert process.returncode == 1 and 0.5 < time.monotonic() - start < 10


@pytest.mark.parametrize("program, code", [("import sys; sys.exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_a_server_that_ends_by_itself_gives_its_exit_code(program, code, supervised):
    process = supervised("print('x');" + program)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (code, "")


def test_the_server_dies_with_its_supervisor(supervised):
    process = supervised("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    server = psutil.Process(int(process.stdout.readline()))
    process.kill()
    server.wait(timeout=10)
