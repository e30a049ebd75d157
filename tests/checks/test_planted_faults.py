"""Every planted fault is found, with one clear line, and nothing else is called a fault.

Faults that only the doctor finds: test_planted_faults_engine.py.
"""

import pytest
from planted_faults import CPU, ROUNDS, Run, assert_exactly

from tooln1.checks import checklist
from tooln1.checks.this_machine import check_ray

pytestmark = pytest.mark.cpu_engine

CHECKS = checklist.QUICK + checklist.QUICK_ON_CPU + (checklist.Check("ray", check_ray),)


@pytest.fixture
def start(model, tiny_data, tmp_path, monkeypatch):
    return lambda recipe=CPU: Run(recipe, tmp_path, model, tiny_data, monkeypatch)


@pytest.mark.parametrize("name", ROUNDS)
def test_planted_faults_are_found_with_one_line_each(name, start):
    run = start()
    for _, settings, *causes in ROUNDS[name]:
        run.plant(settings, *causes)
    assert_exactly(run.faults(checks=CHECKS), [line for line, *_ in ROUNDS[name]])


def test_an_unknown_recipe_is_a_fault(start):
    assert_exactly(start("tool_n1_gpro").faults(), [r"tool_n1_gpro: no such configuration; did you mean tool_n1_grpo"])
