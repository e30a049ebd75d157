"""`tooln1 train` and `tooln1 validate` name every planted fault with one clear line, and nothing else.

What takes verl, and `tooln1 doctor`: test_planted_faults_engine.py.
"""

from pathlib import Path

import pytest
from planted_faults import CPU, QUICK_ROUNDS, ROUNDS, Run, assert_exactly, read_table

from tooln1.cli import main

pytestmark = pytest.mark.cpu_engine

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cases" / "p_gt_nan.parquet"


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


@pytest.mark.skipif(not SHARED.is_file(), reason="no shared cases beside the checkout")
def test_rows_that_the_reward_refuses_are_all_named(command, model, tiny_data, tmp_path, monkeypatch):
    run = Run(CPU, tmp_path, model, tiny_data, monkeypatch)
    run.overrides |= {"data.train_files": SHARED, "data.train_batch_size": 4}
    for lines in (command("train", *run.arguments), command("validate", SHARED)):
        rows = [line.partition(f"{SHARED}, ")[2] for line in lines]
        assert len(rows) == 8
        for number, row in enumerate(rows):
            assert row.startswith(f"row {number}: reward_model.ground_truth: ") and "NaN is not JSON" in row


def test_the_page_has_a_row_for_each_of_the_faults():
    planted = [what for _, faults in ROUNDS for what in faults]
    assert len(planted) >= 40 and planted == list(read_table())
