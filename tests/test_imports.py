"""The package's layers, as pyproject.toml declares them for import-linter."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.xfail(strict=False, reason="the layers hold once every part is rebuilt")
def test_arrows_go_one_way(monkeypatch):
    use_cases = pytest.importorskip("importlinter.application.use_cases")
    pytest.importorskip("importlinter.configuration").configure()
    monkeypatch.chdir(ROOT)
    assert use_cases.lint_imports(cache_dir=None, no_logo=True), "captured output says which import is wrong"
