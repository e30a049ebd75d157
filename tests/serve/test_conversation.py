"""examples/serve_and_call.sh on the quickstart's trained model, and what it says without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_example(*arguments, **environment):
    return subprocess.run(
        ["bash", str(ROOT / "examples" / "serve_and_call.sh"), *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_without_a_trained_model_the_example_says_how_to_get_one(tmp_path):
    done = run_example(RUN_DIR=str(tmp_path))
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and done.stdout == ""
    assert f"{tmp_path}/merged: no such folder; run bash examples/run_tiny_cpu_grpo.sh first" in line


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A quickstart's folder: that of RUN_DIR, where a finished run lies, or else of a run of its own."""
    folder = Path(os.environ.get("RUN_DIR") or tmp_path_factory.mktemp("tiny") / "run")
    if not (folder / "merged" / "config.json").is_file():
        subprocess.run(
            [sys.executable, "-m", "tooln1.tiny.run"], env={**os.environ, "RUN_DIR": str(folder)}, check=True
        )
    return folder


@pytest.mark.slow
def test_the_trained_model_calls_tools_and_uses_what_it_was_told(trained):
    done = run_example(RUN_DIR=str(trained))
    assert done.returncode == 0, done.stderr[-2000:]
    first, streamed, unfit = done.stdout.split("\n\n")
    lines = [line.strip() for line in first.splitlines()]
    assert 'calls   find_hotel {"city": "Oslo"}' in lines
    # The city stands in the first question and its call alone.
    assert 'calls   book_hotel {"city": "Oslo", "days": 3}' in lines
    assert lines.count("tool      done") == lines.count("ends    tool_calls") == 2
    assert "'tool_calls'" in streamed and streamed.endswith("tool_calls")
    assert unfit.strip().endswith("ends    stop")
