"""The package's layers, as pyproject.toml declares them for import-linter."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_arrows_go_one_way(monkeypatch):
    use_cases = pytest.importorskip("importlinter.application.use_cases")
    pytest.importorskip("importlinter.configuration").configure()
    monkeypatch.chdir(ROOT)
    assert use_cases.lint_imports(cache_dir=None, no_logo=True), "the captured output names the wrong import"
