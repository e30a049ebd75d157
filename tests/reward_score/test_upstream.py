"""The change for verl: mergeable by verl's own rules, and working in a copy of the installed verl."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tooln1.cli import main
from tooln1.errors import UserError
from tooln1.upstream import DISPATCHER, MODULE, TEST, make_patch, write_patch

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(importlib.util.find_spec("verl").origin).parents[1]
# One of the lines that tests/special_sanity/check_license.py of verl looks for: the one for individuals.
LICENCE = "Copyright 2025 Individual Contributor:"
# [tool.ruff] of verl's pyproject.toml.
VERL_RULES = [
    "line-length=120",
    'lint.select=["E", "F", "UP", "B", "I", "G"]',
    'lint.ignore=["F405", "F403", "E731", "B007", "UP032", "G004", "UP045", "UP035"]',
    'lint.isort.known-first-party=["verl"]',
    'target-version="py310"',
]


@pytest.fixture(scope="module")
def patched(tmp_path_factory):
    """A copy of the installed verl with the patch applied."""
    checkout = tmp_path_factory.mktemp("verl")
    shutil.copytree(INSTALLED / "verl", checkout / "verl")
    main(["upstream", "--verl", str(checkout), "--output", str(checkout / "change.patch")])
    subprocess.run(["git", "apply", "--whitespace=error", "change.patch"], cwd=checkout, check=True)
    return checkout


def test_the_patch_adds_two_files_and_one_branch(patched):
    before = (INSTALLED / DISPATCHER).read_text().splitlines()
    after = (patched / DISPATCHER).read_text().splitlines()
    added = [line.strip() for line in after if line not in before]
    assert added == [
        'elif data_source.startswith("toolcall/"):',
        "from . import toolcall",
        "res = toolcall.compute_score(data_source, solution_str, ground_truth, extra_info, **kwargs)",
    ]
    assert (patched / MODULE).read_bytes() == (ROOT / "tooln1/reward_score/toolcall.py").read_bytes()
    assert (patched / TEST).read_bytes() == (ROOT / "tooln1/upstream" / Path(TEST).name).read_bytes()


def test_the_patch_in_the_recipe_is_current():
    current = make_patch((INSTALLED / DISPATCHER).read_text())
    assert (ROOT / "recipe/tool_n1/upstream/verl-0.9.1.patch").read_text() == current, (
        "run recipe/tool_n1/upstream/make.sh"
    )


def test_verls_rules_on_files_hold(patched):
    for name in (MODULE, TEST):
        text = (patched / name).read_text()
        assert LICENCE in text.splitlines()[0]
        assert max(map(len, text.splitlines())) <= 120
        ast.parse(text, feature_version=(3, 10))
    assert Path(TEST).name.endswith("_on_cpu.py"), "verl's CPU tests are found by this ending"
    assert Path(TEST).parts[1] in {one.name for one in (patched / "verl").iterdir()}, "tests mirror the package"


def test_verls_linter_and_formatter_pass(patched):
    ruff = shutil.which("ruff", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if ruff is None:
        pytest.skip("ruff is not installed (extra dev)")
    options = ["--isolated", *(part for rule in VERL_RULES for part in ("--config", rule))]
    for command in (["check"], ["format", "--check"]):
        files = [MODULE, TEST, DISPATCHER]
        ran = subprocess.run([ruff, *command, *options, *files], cwd=patched, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_patched_verl_scores_and_passes_the_patchs_own_test(patched):
    environment = {**os.environ, "PYTHONPATH": str(patched), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    code = (
        "import sys, pytest, verl.utils.reward_score as module; "
        f"assert module.__file__ == {str(patched / DISPATCHER)!r}; "
        f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '--import-mode=importlib', {TEST!r}]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], env=environment, cwd=patched, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_verl_that_cannot_be_patched_is_refused_in_one_line(patched, tmp_path, capsys):
    for verl, said in ((patched, "already"), (tmp_path, "give a checkout of verl")):
        with pytest.raises(SystemExit) as stopped:
            main(["upstream", "--verl", str(verl), "--output", str(tmp_path / "change.patch")])
        assert stopped.value.code == 2
        [line] = capsys.readouterr().err.splitlines()
        assert said in line
    with pytest.raises(UserError, match=r"mine\.py: default_compute_score is not as in verl 0\.9\.1"):
        make_patch("def default_compute_score(**kwargs):\n    return 0.0\n", "mine.py")
    assert not list(tmp_path.iterdir())


def test_the_package_folder_itself_is_understood(tmp_path):
    said = write_patch(INSTALLED / "verl", tmp_path / "change.patch")
    assert f"cd {INSTALLED} && patch -p1 < {tmp_path / 'change.patch'}" in said
