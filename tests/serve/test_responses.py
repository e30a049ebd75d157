"""Reading responses: what is reasoning, what are calls, what is only text, wherever the response is cut."""

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooln1.prompt import TAGS, format_response
from tooln1.reward_score.toolcall import compute_score
from tooln1.serve.responses import Call, Stream, read_calls, split_calls, split_reasoning

CALLS = '<tool_call>[{"name": "f", "arguments": {"a": 1}}]</tool_call>'
F = Call("f", '{"a": 1}')


def read(pieces, opened=False):
    """What a server makes of a response that comes in these pieces: reasoning, content, calls."""
    reasoning, content, calls, ended = "", "", None, False
    first, second = Stream(partial(split_reasoning, opened=opened)), Stream(split_calls)
    for number, piece in enumerate([*pieces, ""]):
        done = number == len(pieces)
        if not ended:
            thought, piece, ended = first.feed(piece, done)
            reasoning += thought
        if ended:
            piece, calls = second.feed(piece, done)
        content += piece
    return reasoning, content, calls


@pytest.mark.parametrize(
    "response, expected",
    [
        (f"<think>why</think>\n{CALLS}", ("why", "", [F])),
        (f"\n <think>why</think>{CALLS}\n", ("why", "", [F])),
        ("<think>why</think><tool_call>[]</tool_call>", ("why", "", [])),
        ("<think>a < b, <b>, </thin, <tool</think>" + CALLS, ("a < b, <b>, </thin, <tool", "", [F])),
        # The answer to a tool's result may be words.
        ("<think>why</think>\nIt is warm.", ("why", "\nIt is warm.", None)),
        ("", ("", "", None)),
        # Calls that are not well-formed.
        (f"<think>why</think>so: {CALLS}", ("why", f"so: {CALLS}", None)),
        (f"<think>why</think>{CALLS} done", ("why", f"{CALLS} done", None)),
        (f"<think>why</think>{CALLS}{CALLS}", ("why", CALLS + CALLS, None)),
        ("<think>why</think>\n<tool", ("why", "\n<tool", None)),
        # Reasoning that is not well-formed: what follows it is no call.
        (CALLS, ("", CALLS, None)),
        (f"First: <think>why</think>{CALLS}", ("", f"First: <think>why</think>{CALLS}", None)),
        (f"<think> \n</think>{CALLS}", ("", f"<think> \n</think>{CALLS}", None)),
        (f"<think>why{CALLS}", ("why", CALLS, None)),
        (f"<think>a<think>b</think>{CALLS}", ("a", f"<think>b</think>{CALLS}", None)),
        (f"<think>a</tool_call>b</think>{CALLS}", ("a", f"</tool_call>b</think>{CALLS}", None)),
        (f" <think> <think>b</think>{CALLS}", ("", f" <think> <think>b</think>{CALLS}", None)),
        # Broken off.
        ("<think>why", ("why", "", None)),
        ("<think>why</thi", ("why</thi", "", None)),
        (" <think> ", ("", " <think> ", None)),
        ("<thi", ("", "<thi", None)),
    ],
)
def test_a_response_is_read(response, expected):
    assert read([response]) == expected
    assert read(list(response)) == expected


@pytest.mark.parametrize(
    "response, expected",
    [
        (f"why</think>\n{CALLS}", ("why", "", [F])),
        (f"\nwhy</think>{CALLS}", ("\nwhy", "", [F])),
        ("why", ("why", "", None)),
        # Well-formed only without the prompt's tag.
        (f"<think>why</think>{CALLS}", ("", f"<think>why</think>{CALLS}", None)),
        (f" </think>{CALLS}", ("", f" </think>{CALLS}", None)),
        (CALLS, ("", CALLS, None)),
    ],
)
def test_after_a_prompt_that_opens_the_reasoning_a_response_begins_inside_it(response, expected):
    assert read([response], opened=True) == expected
    assert read(list(response), opened=True) == expected
    reward = compute_score("", response, '[{"name": "f", "arguments": {"a": 1}}]', prompt_opens_think=True)
    assert bool(reward["acc"]) == (expected[2] == [F])


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "[",
        "null",
        '[{"name": "f", "arguments": {}, "id": 1}]',
        '[{"name": 1, "arguments": {}}]',
        '[{"name": "f", "arguments": "{}"}]',
        '[{"name": "f", "arguments": {"x": NaN}}]',
        '[{"name": "f", "arguments": {"x": 1, "x": 2}}]',
        '[{"name": "f", "arguments": {}},]',
        "[" * 100_000,
        # Half a surrogate pair is JSON, but no UTF-8 response can carry the name.
        r'[{"name": "\ud800", "arguments": {}}]',
    ],
)
def test_a_block_that_breaks_the_grammar_has_no_calls(inside):
    assert read_calls(f"<tool_call>{inside}</tool_call>") is None


@pytest.mark.parametrize(
    "arguments",
    [
        "{}",
        '{ "b" : [1.10, -0, 1e400, 12345678901234567890123],\n"a": {"x": null} }',
        r'{"tags": "</tool_call><think>", "escapes": "\u00e9\ud83d\ude00\"\\\n", "half": "\ud800"}',
        '{"name": "x", "arguments": {"name": "y"}}',
        "{" + '"x": {' * 200 + "}" * 200 + "}",
        '{"digits": ' + "9" * 5000 + "}",
    ],
)
def test_arguments_are_handed_on_as_they_were_written(arguments):
    block = f'<tool_call>[ {{"arguments": {arguments}, "name": "f"}} , {{"name": "g", "arguments": {{}}}}]</tool_call>'
    assert read_calls(block) == [Call("f", arguments), Call("g", "{}")]


PIECE = st.sampled_from(
    [*TAGS, *(tag[:-1] for tag in TAGS), "<", ">", " ", "\n", "é😀", "x", CALLS, CALLS[11:-12], '"']
)
RESPONSES = st.lists(PIECE, max_size=12).map("".join) | st.text(max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(TAGS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CALL_LISTS = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(st.characters(codec="utf-8")), "arguments": st.dictionaries(st.text(), VALUES, max_size=3)}
    ),
    max_size=3,
)


def cut(text, places):
    places = sorted({min(place, len(text)) for place in places})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@given(RESPONSES, st.lists(st.integers(0, 80)))
def test_where_a_response_is_cut_makes_no_difference(response, places):
    assert read(cut(response, places)) == read([response])


@given(RESPONSES)
def test_calls_are_read_exactly_where_the_reward_finds_the_format_right(response):
    _, _, calls = read([response])
    assert (calls is not None) == (compute_score("", response, "[]")["format"] == 1)


@given(RESPONSES)
def test_nothing_of_a_malformed_response_is_lost(response):
    reasoning, content, calls = read([response])
    if calls is None:
        written = response.lstrip(" \t\r\n").removeprefix("<think>") if reasoning else response
        assert written in (reasoning + content, f"{reasoning}</think>{content}")


@given(CALL_LISTS, st.lists(st.integers(0, 300)))
def test_every_written_call_comes_back(calls, places):
    response = format_response(calls, "because")
    reasoning, content, read_back = read(cut(response, places))
    assert (reasoning, content) == ("because", "")
    assert [{"name": call.name, "arguments": json.loads(call.arguments)} for call in read_back] == calls
