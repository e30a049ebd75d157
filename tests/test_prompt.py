"""The prompt's wording is free; its structure and the way calls are written in it are not."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooln1.calls import normalize_tools
from tooln1.prompt import (
    TAGS,
    TemplateError,
    build_messages,
    build_system,
    fill_template,
    format_calls,
    format_response,
    listed_tools,
    load_template,
    opens_reasoning,
    split_system,
    whole_response,
)
from tooln1.reward_score.toolcall import compute_score

TOOLS = [
    {"name": "Météo", "description": "weather {tools}", "parameters": {"type": "dict", "properties": {"q": {}}}},
    {"name": "b", "description": "two\nlines", "parameters": {}},
]


def tools_in(system: str) -> list:
    return [json.loads(line) for line in re.search(r"<tools>\n(.*?)\n</tools>", system, re.DOTALL)[1].split("\n")]


def test_the_tools_stand_one_a_line_between_their_tags():
    system = build_system(TOOLS)
    assert tools_in(system) == normalize_tools(TOOLS)
    assert '"Météo"' in system  # written plainly, not as \u escapes


def test_the_context_comes_first_and_tools_cannot_touch_the_template():
    system = build_system(TOOLS, context="\nIt is Monday. {tools} {0} %s\n")
    assert system.startswith("It is Monday. {tools} {0} %s\n\n")
    assert tools_in(system)[0]["description"] == "weather {tools}"
    assert system.removeprefix("It is Monday. {tools} {0} %s\n\n") == build_system(TOOLS)


def test_the_template_names_every_tag_and_the_empty_list():
    for piece in (*TAGS, "<tools>", "</tools>", "<tool_call>[]</tool_call>"):
        assert piece in load_template()


def test_the_worked_example_earns_the_reward():
    template = load_template()
    [example] = re.findall(r"^<think>.*?</think>\n<tool_call>.*?</tool_call>$", template, re.MULTILINE)
    calls = json.loads(re.search(r"<tool_call>(.*)</tool_call>", example)[1])
    reasoning = re.search(r"<think>(.*)</think>", example)[1]
    assert format_response(calls, reasoning) == example
    assert compute_score("toolcall/xlam", example, format_calls(calls))["score"] == 1


def test_another_template_is_taken(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text('Use {tools} like {"name": {}}.\n')
    assert build_system([{"name": "t"}], template=load_template(path)) == (
        'Use {"name": "t", "description": "", "parameters": {"type": "object", "properties": {}}} like {"name": {}}.'
    )


@pytest.mark.parametrize("text", [b"no place for tools", b"{tools} and {tools}", b"\xe9 {tools}", None])
def test_a_template_that_cannot_be_used_is_named(text, tmp_path):
    if text is not None:
        (tmp_path / "mine.txt").write_bytes(text)
    with pytest.raises(TemplateError, match="mine.txt"):
        load_template(tmp_path / "mine.txt")
    if text and text.isascii():
        with pytest.raises(TemplateError):
            build_system(TOOLS, template=text.decode())


def test_a_template_of_the_package_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = {name: load_template(name) for name in ("thinking", "compact", "direct")}
    assert len(set(texts.values())) == 3 and texts["thinking"] == load_template()
    with pytest.raises(TemplateError, match="one of compact, direct, thinking"):
        load_template("thinkin")


def test_earlier_calls_are_written_as_the_model_must_write_them():
    calls = [{"id": 7, "arguments": {"x": "é"}, "name": "b"}]
    turns = [
        {"role": "user", "content": "do it"},
        {"role": "assistant", "content": None, "calls": calls},
        {"role": "tool", "content": "done"},
        {"role": "assistant", "content": "Done.", "calls": calls},
    ]
    written = '<tool_call>[{"name": "b", "arguments": {"x": "é"}}]</tool_call>'
    assert build_messages(TOOLS, turns) == [
        {"role": "system", "content": build_system(TOOLS)},
        {"role": "user", "content": "do it"},
        {"role": "assistant", "content": written},
        {"role": "tool", "content": "done"},
        {"role": "assistant", "content": f"Done.\n{written}"},
    ]


@pytest.mark.parametrize("turn", [{"role": "system", "content": "x"}, {"role": "user", "content": "x", "calls": []}])
def test_turns_in_a_wrong_role_are_refused(turn):
    with pytest.raises(ValueError, match="role"):
        build_messages(TOOLS, [turn])


@pytest.mark.parametrize("reasoning", ["", " \n", "a </think> b", "<tool_call>"])
def test_reasoning_that_would_spoil_the_response_is_refused(reasoning):
    with pytest.raises(ValueError, match="reasoning"):
        format_response([], reasoning)


def test_values_json_does_not_have_are_refused():
    with pytest.raises(ValueError):
        format_calls([{"name": "b", "arguments": {"x": float("inf")}}])


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans()), max_size=3))
def test_every_written_response_earns_the_reward(arguments):
    calls = [{"name": f"t{number}", "arguments": members} for number, members in enumerate(arguments)]
    assert compute_score("toolcall/xlam", format_response(calls, "x"), format_calls(calls))["score"] == 1


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
tool_lists = st.lists(
    st.fixed_dictionaries(
        {"name": texts, "description": texts, "parameters": st.just({"type": "object", "properties": {}})}
    ),
    max_size=3,
)


@given(tool_lists, texts, st.sampled_from([None, "Mine:\n{tools}\nThat is all.", "[{tools}]"]))
def test_a_system_message_comes_apart_again(tools, context, template):
    system = fill_template(tools, context, template)
    if context.strip() and template == "[{tools}]" and "[" in context:
        return  # nothing says where the context ends
    assert split_system(system, template) == (context.strip(), tools)


@pytest.mark.parametrize(
    "system, template, names",
    [
        ("You help.", None, None),
        ("<tools>\nnot JSON\n</tools>", None, None),
        ('<tools>\n{"type": "function"}\n</tools>', None, None),
        ('<tools>\n{"type": "function", "function": {"name": "f"}}\n</tools>', None, {"f"}),
        ("<tools>\n\n</tools>", None, set()),
        ('use <tools>\n<tools>\n{"name": "f"}\n\n{"name": "g"}\n</tools>', None, {"f", "g"}),
        ('in <tools></tools>:\n<tools>\n{"name": "f"}\n</tools>\nonly those in <tools></tools>', None, {"f"}),
        ('<tools>\n{"name": "f", "description": "</tools>"}\n</tools>', None, {"f"}),
        ('{"name": "f"}', "{tools}", {"f"}),
        ('<tools>\n{"name": "f"}\n</tools>', "LIST {tools} END", None),
    ],
)
def test_the_names_of_listed_tools_are_read_or_nothing_is_said(system, template, names):
    assert listed_tools(system, template) == names


@pytest.mark.parametrize(
    "prompt, opens",
    [
        ("assistant\n<think>\n", True),
        ("<think>", True),
        ("<think>\n\n</think>\n\n", False),
        ("<think>ing", False),
        ("", False),
    ],
)
def test_a_prompt_that_ends_with_an_open_tag_opens_the_reasoning(prompt, opens):
    assert opens_reasoning(prompt) is opens
    assert whole_response(prompt, "so</think>") == ("<think>so</think>" if opens else "so</think>")


def test_a_system_message_of_another_template_is_refused():
    with pytest.raises(ValueError, match="not written with this template"):
        split_system(build_system(TOOLS), "Mine: {tools}")
