"""What the report's tests share: a run as verl leaves it."""

import shutil

import pytest
from verl_run import write_run

from tooln1.report.run_data import load_runs


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A complete run of 12 steps; tests that change it copy it first."""
    return write_run(tmp_path_factory.mktemp("report") / "seed0")


@pytest.fixture
def copied(run_folder, tmp_path):
    """A copy of the run that a test may change; its configuration names its own files."""
    folder = shutil.copytree(run_folder, tmp_path / "run")
    config = folder / "hydra" / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace(str(run_folder), str(folder)))
    return folder


@pytest.fixture
def load():
    """Reads one run folder."""
    return lambda folder, **settings: load_runs([folder], **settings)[0]
