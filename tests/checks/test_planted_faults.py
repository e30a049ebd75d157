"""`tooln1 train` and `tooln1 validate` name every planted fault with one clear line, and nothing else.

What takes verl, and `tooln1 doctor`: test_planted_faults_engine.py.
"""

import pytest
from planted_faults import QUICK_ROUNDS, ROUNDS, Run, assert_exactly, read_table

from tooln1.cli import main

pytestmark = pytest.mark.cpu_engine


@pytest.fixture
def command(capsys):
    """Runs a command that refuses its input, and returns the lines of its errors."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, errors = capsys.readouterr()
        assert stop.value.code == 2 and "Traceback" not in out + errors
        assert all(line.startswith("error: ") for line in errors.splitlines())
        return [line.removeprefix("error: ") for line in errors.splitlines()]

    return run


@pytest.mark.parametrize("name", QUICK_ROUNDS)
def test_planted_faults_are_found_with_one_line_each(name, command, model, tiny_data, tmp_path, monkeypatch):
    recipe, faults = QUICK_ROUNDS[name]
    run = Run(recipe, tmp_path, model, tiny_data, monkeypatch).plant(faults)
    assert_exactly(command("train", *run.arguments), faults, "train")
    if any("validate" in read_table()[what].commands for what in faults):
        assert_exactly(command("validate", *run.files), faults, "validate")
    else:  # never the opposite
        main(["validate", *run.files])


def test_the_page_has_a_row_for_each_of_the_faults():
    planted = [what for _, faults in ROUNDS for what in faults]
    assert len(planted) >= 40 and planted == list(read_table())
