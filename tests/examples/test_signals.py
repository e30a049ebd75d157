"""Signals to a script that trains several models in a row: they reach the run at hand, and no further run starts."""

import os
import signal
import subprocess
import sys
from functools import partial

import pytest
from example_scripts import EXAMPLES, TRAINING

# Saves on SIGTERM and takes its time for it, as `tooln1 train` does.
STAND_IN = f"""#!{sys.executable}
import signal, sys, time
def stop(*_):
    time.sleep(0.5)
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, signal.default_int_handler)
print("running", flush=True)
time.sleep(60)
"""

IN_A_ROW = [script for script in TRAINING if "finish $!" in (EXAMPLES / script).read_text()]


@pytest.fixture
def start(tmp_path):
    """Starts a script with a stand-in for `tooln1`, in a process group of its own as a terminal does."""
    stand_in = tmp_path / "bin" / "tooln1"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    names = ("train.parquet", "test.parquet")
    for name in names:
        (tmp_path / name).touch()
    files = dict(zip(("TRAIN_FILE", "VAL_FILE"), (str(tmp_path / name) for name in names), strict=True))
    path = f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **files, "SFT_TRAIN_FILE": files["TRAIN_FILE"], "PATH": path}
    for name in ("DRY_RUN", "SIZES", "VERSIONS", "VARIANTS", "MIXTURES"):
        environment.pop(name, None)

    def run(script):
        process = subprocess.Popen(
            ["bash", str(EXAMPLES / script)],
            env={**environment, "RUN_DIR": str(tmp_path / "run")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Of a shell's background job, which may run the tests, Ctrl-C is ignored.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout.readline() == "running\n"
        return process

    return run


@pytest.mark.parametrize("script", IN_A_ROW, ids=str)
def test_sigterm_is_passed_on_and_the_run_may_take_its_time(script, start):
    process = start(script)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert output == "saved\n" and process.returncode == 75


def test_ctrl_c_ends_the_run_and_the_script(start):
    process = start("run_qwen_scaling.sh")
    os.killpg(process.pid, signal.SIGINT)
    output, error = process.communicate(timeout=30)
    assert output == "" and "KeyboardInterrupt" in error and process.returncode != 0
