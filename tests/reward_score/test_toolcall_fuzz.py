"""The reward on random responses and calls: nothing raises, and an oracle that shares no code with it agrees."""

import copy
import json
from collections import Counter

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toolcall_cases import KEYS, REWARDS, called, judge, paid
from toolcall_fuzz import ANY_TEXT, EXAMPLES, examine


@settings(max_examples=300, deadline=None)
@given(EXAMPLES)
def test_any_text_gets_five_floats(example):
    examine(*example)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT
JSON_VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3), max_leaves=8
)
CALLS = st.lists(
    st.fixed_dictionaries({"name": ANY_TEXT, "arguments": st.dictionaries(ANY_TEXT, JSON_VALUES, max_size=4)}),
    max_size=4,
).map(lambda calls: json.loads(json.dumps(calls)))  # two surrogates that make a pair come back as one character
# Few values, easily confused with each other, so that random lists are often almost equal.
NEAR = st.sampled_from([1, 1.0, True, "1", 0, False, [], {}, [1], [True], {"a": 1}, {"a": 1.0}])
NEAR_CALLS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("fg"), "arguments": st.dictionaries(st.sampled_from("xy"), NEAR)}),
    max_size=3,
)


def exact(value):
    """A JSON value in a hashable form: an oracle that shares no code with the reward."""
    if isinstance(value, dict):
        return "object", frozenset((key, exact(item)) for key, item in value.items())
    if isinstance(value, list):
        return "array", tuple(exact(item) for item in value)
    return type(value).__name__, value


def shuffled(value, random):
    """The same value with the keys of every object in a random order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], random) for key in random.sample(list(value), len(value))}
    return [shuffled(item, random) for item in value] if isinstance(value, list) else value


def paths_in(value, path=()):
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from paths_in(item, (*path, key))


@settings(max_examples=100, deadline=None)
@given(CALLS, st.sampled_from(REWARDS), st.sampled_from([None, 1, "\t"]))
def test_the_ground_truth_itself_scores_one(calls, reward, indent):
    # "<" is escaped because the paper reward ends a pair at a tag inside a string.
    response = called(json.dumps(calls, indent=indent).replace("<", "\\u003c"))
    assert judge(response, json.dumps(calls), reward) == dict.fromkeys(KEYS, 1.0)


@settings(max_examples=100, deadline=None)
@given(CALLS, st.randoms(use_true_random=False), st.booleans())
def test_order_of_keys_and_calls_is_free(calls, random, escaped):
    other = [shuffled(call, random) for call in random.sample(calls, len(calls))]
    assert paid(called(json.dumps(other, ensure_ascii=escaped)), json.dumps(calls)) == 1.0


@settings(max_examples=150, deadline=None)
@given(CALLS, st.data())
def test_any_change_to_one_argument_scores_zero(calls, data):
    paths = [(i, "arguments", *path) for i, call in enumerate(calls) for path in paths_in(call["arguments"])]
    assume(paths)
    *way, last = data.draw(st.sampled_from(paths))
    parent = changed = copy.deepcopy(calls)
    for key in way:
        parent = parent[key]
    change = data.draw(st.sampled_from(["replace", "remove", "rename"]))
    if change == "replace":
        parent[last] = data.draw(NEAR | JSON_VALUES)
    elif change == "rename" and isinstance(parent, dict):
        new = data.draw(ANY_TEXT)
        parent[new] = parent.pop(last)
    else:
        del parent[last]
    changed = json.loads(json.dumps(changed))
    assume(exact(changed) != exact(calls))  # the draw may have put back what was there
    result = judge(called(json.dumps(changed)), json.dumps(calls))
    assert result == {"score": 0.0, "acc": 0.0, "format": 1.0, "tool_name": 1.0, "arguments": 0.0}


@settings(max_examples=300, deadline=None)
@given(NEAR_CALLS, NEAR_CALLS)
def test_strict_agrees_with_an_oracle_on_near_misses(calls, ground_truth):
    result = judge(called(json.dumps(calls)), json.dumps(ground_truth))
    assert result["arguments"] == float(Counter(map(exact, calls)) == Counter(map(exact, ground_truth)))
    assert result["tool_name"] == float(Counter(c["name"] for c in calls) == Counter(c["name"] for c in ground_truth))
