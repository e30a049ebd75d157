"""tooln1-python and the fork server behind it: a forked process behaves like one that python started."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tooln1.platforms.fork import SOCKET_VARIABLE

PYTHON = shutil.which("tooln1-python", path=str(Path(sys.executable).parent))
JOB = {"RAY_JOB_ID": "01", "RAY_RAYLET_PID": "7"}

# No interpreter imports these by itself, so they tell a forked process from a fresh one.
FRESH, WITH_RAY = "antigravity_not_there", "colorsys"
ASK = f"import sys; print({WITH_RAY!r} in sys.modules, 'xmlrpc.client' in sys.modules)"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running server; the fixture is the environment of its clients."""
    folder = tmp_path_factory.mktemp("fork")
    path = folder / "socket"
    command = [sys.executable, "-m", "tooln1.platforms.fork.server", str(path)]
    environment = os.environ | {"PATH": f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, FRESH, "numpy", "xmlrpc.client", "--", WITH_RAY], env=environment, stderr=log
        )
    wait_until(path.exists)
    yield environment | {SOCKET_VARIABLE: str(path)}
    process.kill()
    process.wait()
    assert (folder / "log").read_text().startswith(f"not preloaded: {FRESH}: ")


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def run(environment, *arguments, **options):
    options = {"capture_output": True, "text": True, "timeout": 60} | options
    return subprocess.run([PYTHON, *arguments], env=environment, **options)


def running(pid):
    return Path(f"/proc/{pid}").exists()


def test_the_modules_are_there_and_rays_after_the_first_worker(server):
    assert run(server, "-c", ASK).stdout == "False True\n"
    assert run(server | JOB, "-c", ASK).stdout == "True True\n"
    assert run(server, "-c", ASK).stdout == "True True\n"


def test_without_a_server_it_is_python(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != SOCKET_VARIABLE}
    assert run(environment, "-c", ASK).stdout == "False False\n"
    assert run(environment | {SOCKET_VARIABLE: str(tmp_path / "nobody")}, "-c", ASK).stdout == "False False\n"


def test_a_forked_process_has_a_process_group_of_its_own(server):
    """Ray sends signals to the group of a worker that leaves."""
    assert run(server, "-c", "import os, sys; print(os.getpgrp() == os.getpid(), 'numpy' in sys.modules)").stdout == (
        "True True\n"
    )


def test_options_for_the_interpreter_itself_go_to_python(server):
    assert run(server, "-X", "utf8", "-c", ASK).stdout == "False False\n"
    assert run(server, "-m", "calendar", "2026").stdout.lstrip().startswith("2026")


def test_it_has_its_own_arguments_files_folder_and_variables(server, tmp_path):
    script = tmp_path / "a script.py"
    (tmp_path / "beside.py").write_text("VALUE = 3")
    script.write_text(
        "import beside, os, sys\n"
        "print(sys.argv[1:], os.getcwd(), os.environ.get('COLOUR'), sys.stdin.read(), __name__, beside.VALUE)\n"
        "print('wrong', file=sys.stderr)\n"
        "sys.exit(7)"
    )
    done = run(server | {"COLOUR": "bleu é"}, "-u", str(script), "-u", "-B", "y z", input="in", cwd=tmp_path)
    assert done.stdout == f"['-u', '-B', 'y z'] {tmp_path} bleu é in __main__ 3\n"
    assert done.stderr == "wrong\n" and done.returncode == 7


def test_an_exception_is_shown_and_fails(server):
    done = run(server, "-c", "raise ValueError('so')")
    assert done.returncode == 1 and done.stderr.endswith("ValueError: so\n")


def test_further_files_keep_their_numbers_and_end_with_the_process(server):
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [PYTHON, "-c", f"import os; os.write({writing}, b'through')"], env=server, pass_fds=[writing]
    )
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"through"  # read() returns because every writer is gone
    assert process.wait() == 0


@pytest.mark.parametrize("high, many, forked", [(600, 0, True), (0, 260, False)])
def test_more_files_than_the_kernel_passes_are_left_to_a_fresh_python(server, high, many, forked):
    extra = [os.open(os.devnull, os.O_RDONLY) for _ in range(many)]
    if high:
        extra.append(os.dup2(os.open(os.devnull, os.O_RDONLY), high))
    code = f"import os, sys; [os.fstat(number) for number in {extra}]; print('xmlrpc.client' in sys.modules)"
    try:
        assert run(server, "-c", code, pass_fds=extra).stdout == f"{forked}\n"
    finally:
        for number in extra:
            os.close(number)


def test_processes_draw_different_random_numbers(server):
    draw = "import numpy, random; print(numpy.random.random(), random.random())"
    numbers = [run(server, "-c", draw).stdout.split() for _ in range(2)]
    assert numbers[0][0] != numbers[1][0] and numbers[0][1] != numbers[1][1]


def test_children_of_multiprocessing_are_forked_too(server, tmp_path):
    script = tmp_path / "children.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "def ask(queue):\n    queue.put('xmlrpc.client' in sys.modules)\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    queue = context.Queue()\n"
        "    child = context.Process(target=ask, args=(queue,))\n"
        "    child.start(); print(queue.get()); child.join(); print(child.exitcode)\n"
    )
    assert run(server, str(script)).stdout == "True\n0\n"


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_signal_to_the_client_ends_the_process(server, number, code, tmp_path):
    seen = tmp_path / "pid"
    process = subprocess.Popen(
        [PYTHON, "-c", f"import os, time; open({str(seen)!r}, 'w').write(str(os.getpid())); time.sleep(60)"], env=server
    )
    wait_until(lambda: seen.exists() and seen.read_text())
    process.send_signal(number)
    assert process.wait(timeout=20) == code
    wait_until(lambda: not running(seen.read_text()))


def test_a_killed_driver_leaves_nothing_behind(tmp_path):
    seen = tmp_path / "pids"
    driver = (
        "import os, subprocess, time\n"
        "from tooln1.platforms.fork.callback import ForkServer\n"
        "ForkServer(['json'], []).on_job_start(None)\n"
        "path = os.environ['TOOLN1_FORK_SERVER']\n"
        "while not os.path.exists(path): time.sleep(0.02)\n"
        f"code = \"import os, time; pids = f'{{os.getpid()}} {{os.getppid()}}'; file = {str(seen)!r}\"\n"
        "code += \"; open(file, 'w').write(pids); time.sleep(60)\"\n"
        "subprocess.run(['tooln1-python', '-c', code])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", driver])
    wait_until(lambda: seen.exists() and len(seen.read_text().split()) == 2)
    worker, server = seen.read_text().split()
    assert running(worker) and running(server)
    process.kill()
    process.wait()
    wait_until(lambda: not running(worker) and not running(server))
