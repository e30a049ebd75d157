"""Every planted fault is found, with one clear line, and nothing else is called a fault.

Faults that verl or torch find: test_planted_faults_engine.py.
"""

import pytest
from planted_faults import CPU, ROUNDS, assert_exactly, good_run

from tooln1.checks import checklist

ENGINES = ("check_validation", "check_reward", "check_gpus", "check_network")  # import verl or torch
CHECKS = [check for check in checklist.EVERY if check.find.__name__ not in ENGINES]


@pytest.mark.parametrize("name", ROUNDS)
def test_planted_faults_are_found_with_one_line_each(name, model, tiny_data, tmp_path, monkeypatch):
    recipe, *faults = ROUNDS[name]
    run = good_run(recipe, tmp_path, model, tiny_data, monkeypatch)
    for fault in faults:
        for plant in fault.plants:
            plant(run)
    assert_exactly(run.faults(checks=CHECKS), [fault.line for fault in faults])


def test_a_good_run_has_no_fault(model, tiny_data, tmp_path, monkeypatch):
    assert good_run(CPU, tmp_path, model, tiny_data, monkeypatch).faults(checks=CHECKS) == []
