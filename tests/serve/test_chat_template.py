"""The served chat template against `build_messages`, under chat templates as different models have them."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="transformers renders chat templates")

import transformers

from tooln1.errors import UserError
from tooln1.prompt import build_messages, load_template
from tooln1.serve.chat_template import own_template, prologue, served_template

TEMPLATES = Path(__file__).parents[2] / "tooln1" / "templates"

# Each does something with messages or tools that the prologue must survive.
LIKE_QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\nTOOLS ' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nDefault.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' or message.role == 'assistant' and not message.tool_calls %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.tool_calls %}
        {{- 'CALLS' }}{{- message.tool_calls | tojson }}
    {%- elif message.role == 'tool' %}
        {%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
LIKE_LLAMA = """{{- bos_token }}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system_message = '' %}{%- endif %}
{{- '<|start|>system<|end|>\\n\\n' }}
{%- if tools is not none %}{{- 'Environment: ipython\\n' }}{%- endif %}
{{- system_message }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}{{- '<|start|>ipython<|end|>\\n\\n' }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- endif %}
    {%- else %}
        {{- '<|start|>' + message['role'] + '<|end|>\\n\\n' + message['content'] | trim + '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant<|end|>\\n\\n' }}{%- endif %}
"""
WITH_MACRO = """{% macro say(message) %}{{ message.role }}: {{ message.content }}
{{ messages | length }} {{ tools is none or not tools }}
{% endmacro %}{% for message in messages %}{{ say(message) }}{% endfor %}"""


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return transformers.AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module", params=["tiny", "like Qwen2.5", "like Llama-3", "with a macro"])
def own(request, tokenizer):
    others = {"like Qwen2.5": LIKE_QWEN, "like Llama-3": LIKE_LLAMA, "with a macro": WITH_MACRO}
    return others.get(request.param, tokenizer.chat_template)


@pytest.fixture(scope="module")
def render(tokenizer):
    """What a server renders: it decodes a call's arguments first, and makes missing content empty."""

    def rendered(messages, template, tools=None):
        return tokenizer.apply_chat_template(
            messages, tools=tools, chat_template=template, add_generation_prompt=True, tokenize=False, bos_token="<s>"
        )

    return rendered


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
KEYS = st.sampled_from(["type", "properties", "required", "items", "$defs", "get", "values", "name", "é"])
SCHEMAS = st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=2), max_size=3))
FUNCTIONS = st.fixed_dictionaries(
    {"name": st.sampled_from(["f", "Météo (v2)", "items"])},
    optional={
        "description": st.none() | TEXT,
        "parameters": st.none() | SCHEMAS,
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


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TOOLS, TURNS, TEXT, st.sampled_from(["thinking", "compact", "direct"]))
def test_tools_and_turns_become_the_messages_of_training(own, render, tools, turns, context, name):
    template = load_template(TEMPLATES / f"{name}.txt")
    expected = render(build_messages(tools, turns, context, template), own)
    messages = [{"role": "system", "content": context}, *map(as_openai, turns)]
    assert render(messages, prologue(template) + own, tools) == expected


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TOOLS, TURNS)
def test_messages_that_are_built_already_pass_unchanged(own, render, tools, turns):
    messages = build_messages(tools, turns)
    assert render(messages, prologue() + own) == render(messages, own)


def test_without_tools_earlier_calls_are_still_written_in_our_format(own, render):
    call = {"name": "f", "arguments": {"x": 1.0}}
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "calls": [call]}]
    assert render([as_openai(turn) for turn in turns], prologue() + own) == render(build_messages([], turns)[1:], own)


def test_system_and_developer_messages_become_the_context(own, render):
    roles = ("system", "user", "developer", "user")
    messages = [{"role": role, "content": f"{number}"} for number, role in enumerate(roles)]
    turns = [{"role": "user", "content": "1"}, {"role": "user", "content": "3"}]
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert render(messages, prologue() + own, tools) == render(build_messages(tools, turns, "0\n\n2"), own)


def test_content_in_parts_and_arguments_as_text_are_understood(own, render):
    call = {"name": "f", "arguments": {"x": "é"}}
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    written = {"name": "f", "arguments": json.dumps(call["arguments"], ensure_ascii=False)}
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": written}]},
    ]
    turns = [{"role": "user", "content": "a\nb"}, {"role": "assistant", "calls": [call]}]
    tools = [{"name": "f"}]
    assert render(messages, prologue() + own, tools) == render(build_messages(tools, turns), own)


def test_another_role_is_refused(own, render):
    with pytest.raises(Exception, match="role function is none of"):
        render([{"role": "function", "content": "x"}], prologue() + own, [{"name": "f"}])


@pytest.mark.parametrize(
    "text", ["{tools}", 'é😀 "quoted" \\n \t\r {{ x }} {% endraw %}\n\n{tools}\n#}', "a\\{tools}'"]
)
def test_any_text_may_be_the_prompt_template(text, own, render):
    messages, tools = [{"role": "user", "content": "x"}], [{"name": "f"}]
    assert render(messages, prologue(text) + own, tools) == render(build_messages(tools, messages, template=text), own)


def test_the_checkpoints_own_template_stands_at_the_end(tiny_model, tokenizer):
    assert served_template(tiny_model) == prologue() + tokenizer.chat_template


def test_a_checkpoint_without_a_chat_template_is_named(tiny_model, tokenizer, tmp_path):
    bare = transformers.AutoTokenizer.from_pretrained(tiny_model)
    bare.chat_template = None
    bare.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no chat template; give the one it was trained with: --chat-template"):
        own_template(tmp_path)


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}: the tokenizer cannot be loaded"):
        own_template(tmp_path)
