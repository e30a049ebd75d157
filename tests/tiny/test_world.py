"""The tool world: tasks of every kind, and a train and a test side that share no (tool, value) pair."""

import json
import random

import pytest

from tooln1.tiny.world import KINDS, World

SPLITS = ("train", "test")
SEEDS = (0, 1, 7)


def tasks(world, split, kinds=KINDS, count=150):
    rng = random.Random(f"tests {split}")
    return [world.task(kind, split, rng) for kind in kinds for _ in range(count)]


def pairs(calls):
    """(tool, value) as JSON text, so that True, 1 and "1" stay apart; a list item by item."""
    return {
        (call["name"], json.dumps(item))
        for call in calls
        for value in call["arguments"].values()
        for item in (value if isinstance(value, list) else [value])
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_train_and_test_tasks_share_no_tool_and_value(seed):
    world = World(seed)
    train, test = (set().union(*(pairs(task.calls + task.earlier) for task in tasks(world, split))) for split in SPLITS)
    assert not train & test
    # Both sides are large enough for the line above to mean something, and booleans are among them.
    assert min(len(train), len(test)) > 100
    assert {value for _, value in train} >= {"true", "false"}
    assert {value for _, value in test} & {"true", "false"}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_request_of_the_test_side_occurs_on_the_train_side(seed):
    """The pairs of no_call tasks stand in no reference, only in the request."""
    world = World(seed)
    train, test = (
        {turn["content"] for task in tasks(world, split) for turn in task.turns if turn["role"] == "user"}
        for split in SPLITS
    )
    assert not train & test


def types(task):
    return {type(value) for call in task.calls for value in call["arguments"].values()}


def listed(task):
    return [tool["name"] for tool in task.tools]


@pytest.mark.parametrize(
    "kind, holds, remark",
    [
        ("string", lambda t: types(t) == {str} and len(t.calls) == 1, "one call, strings only"),
        ("integer", lambda t: int in types(t) and len(t.calls) == 1, "one call with a number"),
        ("boolean", lambda t: bool in types(t) and len(t.calls) == 1, "one call with true or false"),
        ("list", lambda t: types(t) == {list} and len(t.calls[0]["arguments"]["names"]) in (2, 3), "a list of names"),
        ("parallel", lambda t: len({call["name"] for call in t.calls}) == 2, "two calls of two tools"),
        ("multi_turn", lambda t: len(t.turns) == 4 and len(t.earlier) == 1, "request, call, result, request"),
        ("no_call", lambda t: t.calls == [], "nothing to call"),
    ],
)
@pytest.mark.parametrize("split", SPLITS)
def test_a_kind_of_task_asks_for_what_its_name_says(kind, holds, remark, split):
    for task in tasks(World(0), split, [kind]):
        assert task.kind == kind
        assert holds(task), f"{remark}: {task}"
        assert {call["name"] for call in task.calls + task.earlier} <= set(listed(task))
        assert len(set(listed(task))) == len(task.tools) == 3


def test_a_later_turn_leaves_out_the_city_that_the_earlier_one_named():
    for task in tasks(World(0), "train", ["multi_turn"]):
        city = task.calls[0]["arguments"]["city"]
        assert city == task.earlier[0]["arguments"]["city"]
        assert city in task.turns[0]["content"]
        assert city not in task.turns[-1]["content"]


def test_no_listed_tool_fits_a_request_of_kind_no_call():
    for task in tasks(World(0), "train", ["no_call"]):
        verb, noun = task.turns[0]["content"].split()[0], task.turns[0]["content"]
        assert not [name for name in listed(task) if name.split("_")[0] == verb and name.split("_")[1] in noun.split()]


def test_a_task_lists_a_look_alike_of_the_tool_it_needs():
    for task in tasks(World(0), "train", ["string", "integer", "boolean", "list"]):
        verb = task.calls[0]["name"].split("_")[0]
        assert len([name for name in listed(task) if name.split("_")[0] == verb]) >= 2


def test_a_further_request_goes_to_the_tools_that_are_listed_already():
    world, rng = World(0), random.Random(0)
    first = world.task("string", "train", rng)
    further = [world.next_task(first.tools, "train", rng) for _ in range(300)]
    assert {"parallel", "no_call"} < {task.kind for task in further}
    for task in further:
        assert task.tools == first.tools
        assert {call["name"] for call in task.calls} <= set(listed(first))
        assert (task.calls == []) == (task.kind == "no_call")
        assert len(task.calls) == 2 or task.kind != "parallel"


def test_the_same_seeds_draw_the_same_tasks():
    assert tasks(World(3), "train", count=20) == tasks(World(3), "train", count=20)
    assert tasks(World(3), "train", count=20) != tasks(World(4), "train", count=20)


@pytest.mark.parametrize("seed", range(8))
def test_the_test_split_switches_both_on_and_off(seed):
    world = World(seed)
    values = [value for name in world.names if name.startswith("switch") for value in world.allowed(name, "on", "test")]
    assert set(values) == {True, False}
