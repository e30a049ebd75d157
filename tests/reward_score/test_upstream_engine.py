"""The change for verl: up to date, mergeable by verl's own rules, and called by a patched verl's own dispatcher."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verl")

ROOT = Path(__file__).resolve().parents[2]
FILES = ("tooln1/reward_score/toolcall.py", "recipe/tool_n1/upstream/test_toolcall_on_cpu.py")
# [tool.ruff] of verl's pyproject.toml.
VERL_RULES = [
    "line-length=120",
    'lint.select=["E", "F", "UP", "B", "I", "G"]',
    'lint.ignore=["F405", "F403", "E731", "B007", "UP032", "G004", "UP045", "UP035"]',
    'lint.isort.known-first-party=["verl"]',
    'target-version="py310"',
]


def check(root):
    command = [sys.executable, str(root / "recipe" / "tool_n1" / "upstream" / "make_patch.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_patch_is_up_to_date_and_its_test_passes_in_a_patched_verl():
    ran = check(ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "20 passed" in ran.stdout


def test_a_patch_that_is_out_of_date_is_named(tmp_path):
    for name in ("tooln1/reward_score", "recipe/tool_n1/upstream"):
        shutil.copytree(ROOT / name, tmp_path / name)
    with (tmp_path / FILES[0]).open("a") as file:
        file.write("# changed\n")
    ran = check(tmp_path)
    assert ran.returncode == 1 and "verl-0.9.1.patch is out of date" in ran.stderr


@pytest.mark.parametrize("name", FILES)
def test_verls_rules_on_files_hold(name):
    text = (ROOT / name).read_text()
    # One of the lines that verl's tests/special_sanity/check_license.py looks for.
    assert "Copyright 2025 Individual Contributor:" in text.splitlines()[0]
    ast.parse(text, feature_version=(3, 10))
    options = ["--isolated", *(part for rule in VERL_RULES for part in ("--config", rule))]
    for command in (["check"], ["format", "--check"]):
        ran = subprocess.run(["ruff", *command, *options, name], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
