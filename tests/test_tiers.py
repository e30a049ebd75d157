"""The fast tier: it leaves out test_*_engine.py, and a test that imports an engine fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = """
from importlib.util import find_spec

def test_that_looks():
    assert find_spec("torch")

def test_that_hides_its_import():
    try:
        import torch
    except Exception:
        pass
"""


def test_the_fast_tier_refuses_engines(tmp_path):
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "torch.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "test_it_engine.py").write_text("raise RuntimeError('collected')")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--fast", "--rootdir", tmp_path, tmp_path],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "Failed: the fast tier imports no torch" in done.stdout
