"""Runs a piece of Python in a process of its own: a platform is chosen once a process, when verl is imported."""

import json
import os
import subprocess
import sys

import pytest

MARK = "@facts "


@pytest.fixture(scope="session")
def python():
    """Returns the finished process of ``code`` under ``environment``, without any platform unless that names one."""

    def run(code, **environment):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("VERL_")}
        return subprocess.run(
            [sys.executable, "-c", code],
            env=clean | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def facts(python):
    """What ``code`` leaves in its variable ``facts``."""

    def run(code, **environment):
        done = python(f"facts = {{}}\n{code}\nimport json; print('\\n{MARK}' + json.dumps(facts))", **environment)
        assert done.returncode == 0, done.stderr[-3000:]
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(MARK))
        return json.loads(line.removeprefix(MARK))

    return run
