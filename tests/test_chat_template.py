"""The chat template of an exported model against `build_messages`, under chat templates of several models."""

import json
from functools import cache

import jinja2
import pytest
from chat_templates import OWN
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tooln1.chat_template import build_chat_template, load_model_template, split_chat_template
from tooln1.prompt import TemplateError, build_messages, load_template


@cache
def compiled(chat_template):
    """The template as transformers compiles it, and vLLM and SGLang through transformers."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    return environment.from_string(chat_template)


def refuse(message):
    raise jinja2.TemplateError(message)


def render(chat_template, messages, tools=None):
    return compiled(chat_template).render(messages=messages, tools=tools, add_generation_prompt=True, bos_token="<s>")


@pytest.fixture(params=OWN.values(), ids=OWN)
def own(request):
    return request.param


def as_openai(turn):
    message = {"role": turn["role"], "content": turn["content"] or ""}
    if turn.get("calls"):
        message["tool_calls"] = [{"type": "function", "id": "x", "function": call} for call in turn["calls"]]
    return message


TEXT = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(["{tools}", "{{ x }}", "{% if %}", "'\"\\"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["type", "properties", "required", "items", "$defs", "anyOf", "schema", "get", "name", "é"])
INNER = st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=2), max_size=3))
SCHEMAS = INNER | INNER.map(lambda inner: {"schema": inner}) | st.booleans()
FUNCTIONS = st.fixed_dictionaries(
    {"name": st.sampled_from(["f", "Météo (v2)", "items"])},
    optional={
        "description": st.none() | TEXT,
        "parameters": st.none() | SCHEMAS,
        "inputSchema": st.none() | SCHEMAS,
        "type": st.sampled_from(["function", "custom", "web_search", None]),
        "strict": st.booleans(),
        "required": st.none() | st.lists(TEXT, max_size=2),
        "items": VALUES,
    },
)
TOOLS = st.lists(FUNCTIONS.map(lambda one: {"type": "function", "function": one}) | FUNCTIONS, min_size=1, max_size=3)
CALLS = st.lists(
    st.fixed_dictionaries({"name": TEXT, "arguments": st.dictionaries(TEXT, VALUES, max_size=3)}), min_size=1
)
TURNS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "tool"]), "content": TEXT})
    | st.fixed_dictionaries({"role": st.just("assistant"), "content": st.none() | TEXT}, optional={"calls": CALLS}),
    min_size=1,
    max_size=4,
)
few = settings(max_examples=40, deadline=None)


@few
@given(st.sampled_from(list(OWN.values())), TOOLS, TURNS, TEXT, st.sampled_from(["thinking", "compact", "direct"]))
def test_tools_and_turns_become_the_messages_of_training(own, tools, turns, context, name):
    template = load_template(name)
    expected = render(own, build_messages(tools, turns, context, template))
    messages = [{"role": "system", "content": context}, *map(as_openai, turns)]
    assert render(build_chat_template(own, template), messages, tools) == expected


@few
@given(st.sampled_from(list(OWN.values())), TOOLS, TURNS)
def test_messages_that_are_built_already_render_as_before(own, tools, turns):
    messages = build_messages(tools, turns)
    assert render(build_chat_template(own), messages) == render(own, messages)


def test_without_tools_earlier_calls_are_still_written_in_our_format(own):
    call = {"name": "f", "arguments": {"x": 1.0}}
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "calls": [call]}]
    assert render(build_chat_template(own), list(map(as_openai, turns))) == render(own, build_messages([], turns)[1:])


def test_system_and_developer_messages_become_the_context(own):
    roles = ("system", "user", "developer", "user")
    messages = [{"role": role, "content": f"{number}"} for number, role in enumerate(roles)]
    turns = [{"role": "user", "content": "1"}, {"role": "user", "content": "3"}]
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert render(build_chat_template(own), messages, tools) == render(own, build_messages(tools, turns, "0\n\n2"))


def test_content_in_parts_and_arguments_as_text_are_understood(own):
    call = {"name": "f", "arguments": {"x": "é"}}
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    written = {"name": "f", "arguments": json.dumps(call["arguments"], ensure_ascii=False)}
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": written}]},
    ]
    turns = [{"role": "user", "content": "a\nb"}, {"role": "assistant", "calls": [call]}]
    assert render(build_chat_template(own), messages, [{"name": "f"}]) == render(
        own, build_messages([{"name": "f"}], turns)
    )


def test_another_role_is_refused(own):
    with pytest.raises(jinja2.TemplateError, match="role function is none of"):
        render(build_chat_template(own), [{"role": "function", "content": "x"}], [{"name": "f"}])


@pytest.mark.parametrize(
    "text", ["{tools}", ' é😀 "quoted" \\n \t\r {{ x }} {% endraw %}\n\n{tools}\n#} ', "a\\{tools}'", "@after@{tools}"]
)
def test_any_text_may_be_the_prompt_template(text, own):
    messages, tools = [{"role": "user", "content": "x"}], [{"name": "f"}]
    expected = render(own, build_messages(tools, messages, template=text))
    assert render(build_chat_template(own, text), messages, tools) == expected


def test_a_model_trained_from_an_exported_one_gets_one_extension(own):
    again = build_chat_template(build_chat_template(own, "Old: {tools}"), "New: {tools}")
    assert again == build_chat_template(own, "New: {tools}")
    extension, rest = split_chat_template(again)
    assert "New: " in extension and rest == own and split_chat_template(own) == ("", own)


def test_only_jinja_that_every_engine_knows_is_used():
    """The renderer of llama.cpp and its earlier one, minja, know only a part of Jinja."""
    tree = jinja2.Environment().parse(build_chat_template("", 'Tools "é" \\ \t: {tools}'))
    assert {node.name for node in tree.find_all(nodes.Filter)} <= {"tojson", "trim", "length"}
    tests = {"string", "mapping", "iterable", "float", "defined", "none"}
    assert {node.name for node in tree.find_all(nodes.Test)} <= tests
    assert all(not node.args and not node.kwargs for node in tree.find_all((nodes.Filter, nodes.Test)))
    assert all(len(macro.args) == 1 and not macro.defaults for macro in tree.find_all(nodes.Macro))
    called = {getattr(call.node, "name", None) or call.node.attr for call in tree.find_all(nodes.Call)}
    assert called == {"namespace", "raise_exception", "items", "tooln1_json", "tooln1_keyword"}
    statements = (nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock, nodes.Import, nodes.Include)
    assert not list(tree.find_all(statements))


def test_a_model_folder_notes_its_prompt_template(tmp_path):
    assert load_model_template(tmp_path) == load_model_template("Qwen/some-model") == load_template("thinking")
    (tmp_path / "prompt_template.txt").write_text("Mine: {tools}")
    assert load_model_template(tmp_path) == "Mine: {tools}"
    assert load_model_template(tmp_path, "compact") == load_template("compact")
    (tmp_path / "prompt_template.txt").write_text("no place")
    with pytest.raises(TemplateError, match="prompt_template.txt"):
        load_model_template(tmp_path)
