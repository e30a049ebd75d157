"""examples/serve_and_call.sh on the quickstart's trained model, and its message without one."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_example(**environment):
    return subprocess.run(
        ["bash", str(ROOT / "examples" / "serve_and_call.sh")],
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


@pytest.mark.slow
@pytest.mark.skipif("RUN_DIR" not in os.environ, reason="RUN_DIR names no finished quickstart")
def test_the_trained_model_calls_tools_and_uses_what_it_was_told():
    done = run_example()
    assert done.returncode == 0, done.stderr[-2000:]
    first, streamed, unfit = done.stdout.split("\n\n")
    lines = [line.strip() for line in first.splitlines()]
    assert 'calls   find_hotel {"city": "Oslo"}' in lines
    # Only the first question and its call name the city.
    assert 'calls   book_hotel {"city": "Oslo", "days": 3}' in lines
    assert lines.count("tool      done") == lines.count("ends    tool_calls") == 2
    assert "'tool_calls'" in streamed and streamed.endswith("tool_calls")
    # Whether the model calls nothing here depends on its training: a third of such tasks are still wrong.
    assert "order 4 pizza" in unfit and unfit.strip().splitlines()[-1].split()[0] in ("ends", "tool")
