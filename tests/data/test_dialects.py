"""The dialects: one conversation gives the same rows in each of them, and what nobody reads is never a row."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dialect_writers import TOOLS, WRITERS, anthropic, llama_factory, openai
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tooln1.data.conversation import without_reasoning
from tooln1.data.counts import Counts
from tooln1.data.dialects import DIALECTS, read_conversation
from tooln1.data.prepare import Choices, make_rows
from tooln1.data.sources import decode_row, open_sources
from tooln1.errors import UserError
from tooln1.prompt import build_system

CASES = Path(__file__).parents[3] / "shared" / "cases"


def read(row, dialect=None, **options):
    """Return the rows made of a source's row without what depends on the dialect, the reasons to drop, the dialect."""
    counts, conversation = Counts(), read_conversation(row, dialect)
    rows = make_rows(conversation, "toolcall/x", 0, counts, "here", Choices(**options))
    found = counts.of()
    assert found["read"] == found["kept"] + sum(found["dropped"].values())
    essence = [(one["prompt"], json.loads(one["reward_model"]["ground_truth"])) for one in rows]
    return essence, found["dropped"], conversation.dialect


prose = st.text(st.characters(categories=["L", "N", "So"], include_characters=" ,.!?-'"), min_size=1, max_size=20).map(
    lambda text: f"Q{text.strip()}e."
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
value = st.recursive(
    st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), text),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
call = st.fixed_dictionaries(
    {
        "name": st.sampled_from([tool["name"] for tool in TOOLS]),
        "arguments": st.dictionaries(st.sampled_from(["a", "b", "c_d"]), value, max_size=3),
    }
)
step = st.lists(call, min_size=1, max_size=3).flatmap(
    lambda calls: st.tuples(
        st.one_of(st.just(""), prose), st.just(calls), st.lists(prose, min_size=len(calls), max_size=len(calls))
    )
)
conversation = st.lists(st.tuples(prose, st.lists(step, max_size=2), prose), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conversation)
def test_a_conversation_gives_the_same_rows_in_every_dialect(rounds):
    expected, _, _ = read(openai(rounds), include_no_call=True)
    steps = [calls for _, steps, _ in rounds for calls in [*(calls for _, calls, _ in steps), []]]
    assert [truth for _, truth in expected] == steps
    assert all(prompt[0]["content"] == build_system(TOOLS, "Be kind.") for prompt, _ in expected)
    for name, writers in WRITERS.items():
        for write in writers:
            rows, dropped, recognised = read(write(rounds), include_no_call=True)
            assert rows == expected and not dropped, name
            if any(steps):
                assert recognised == name


F = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}
ASK, USED = {"role": "user", "content": "do it"}, {"name": "f", "arguments": {"x": 1}}


def called(content=None, **fields):
    return {"role": "assistant", "content": content, **fields}


def tool_calls(*calls):
    return [{"type": "function", "function": call} for call in calls]


@pytest.mark.parametrize(
    "content",
    [
        '<function=f>{"x": 1}</function>',
        '[TOOL_CALLS] [{"name": "g"}]',
        'Sure: {"name": "f", "arguments": {"x": 1}}',
        "Sure: {'function': 'f', 'parameters': {'x': 1}}",
        "Thought: I need it\nAction: f\nAction Input: 1",
        "I run f(x=1) now.",
        'I run f("1") now.',
        "<tool_call>f x=1</tool_call>",
        '<tool_call>{"name": "f", "arguments": {"x": 1}',
        '<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call> The result is 5.',
        "<functioncall> f(1)",
        '<|python_tag|>f.call(x="1")',
        "[f(1)]",
        [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "x"}}],
    ],
)
@pytest.mark.parametrize("fields", [{}, {"tool_calls": []}])
def test_calls_that_are_not_read_are_no_row_and_spoil_the_later_turns(content, fields):
    row = {"messages": [ASK, called(content, **fields), ASK, called(tool_calls=tool_calls(USED))], "tools": [F]}
    for dialect in (None, "openai"):
        rows, dropped, _ = read(row, dialect, include_no_call=True)
        assert rows == [] and dropped.pop("after_rejected_turn") == 1 and sum(dropped.values()) == 1


@pytest.mark.parametrize("key", ["toolCalls", "tool_uses", "function_calls", "action"])
def test_calls_under_a_key_that_nobody_reads_are_no_answer(key):
    rows, dropped, _ = read(
        {"messages": [ASK, called("Let me see.", **{key: [USED]})], "tools": [F]}, include_no_call=True
    )
    assert (rows, dropped) == ([], {"other_writing": 1})


@pytest.mark.parametrize(
    "messages, reasons",
    [
        ([ASK, called(tool_calls=tool_calls(USED, {"name": "g", "arguments": {}}))], {"unknown_tool": 1}),
        ([ASK, called(tool_calls=tool_calls({"name": "f", "arguments": '{"x": 1'}))], {"not_calls": 1}),
        ([ASK, called(tool_calls=tool_calls(USED)), called(tool_calls=tool_calls({"name": "g", "arguments": {}}))],
         {"unknown_tool": 1}),
        ([ASK, called(""), {"role": "tool", "content": "5"}, called("5")], {"empty_turn": 1, "after_rejected_turn": 1}),
        ([ASK, called("")], {"empty_turn": 1}),
        ([ASK, called(tool_calls=tool_calls(USED), weight=0)], {"context_only": 1}),
        ([ASK, called("<tool_call>", tool_calls=tool_calls(USED))], {"other_writing": 1}),
        ([ASK, called("x"), {"role": "system", "content": "Now be brief."}, ASK, called("y")], {"late_system": 1}),
        ([{"role": "user", "content": [{"type": "input_image"}]}, called("x"), ASK, called("y")],
         {"not_text": 1, "after_rejected_turn": 1}),
    ],
)  # fmt: skip
def test_a_turn_that_cannot_be_used_is_counted_by_its_reason(messages, reasons):
    _, dropped, _ = read({"messages": messages, "tools": [F]}, include_no_call=True)
    assert dropped == reasons


@pytest.mark.parametrize(
    "text, arguments",
    [
        ("""{"name": "f", "arguments": '{"x": "it's"}'}""", {"x": "it's"}),
        (r"""{"name": "f", "arguments": '{"x": "it\'s \"so\""}'}""", {"x": 'it\'s "so"'}),
        (r"""{"name": "f", "arguments": '{"x": "a\nb\\"}'}""", {"x": "a\nb\\"}),
        ('{"name": "f", "arguments": {"x": 1}}', {"x": 1}),
        ('{"name": "f"}', None),
    ],
)
def test_the_quotes_of_glaive_are_understood(text, arguments):
    row = {"chat": f"USER: do it\n\n\nASSISTANT: <functioncall> {text} <|endoftext|>", "system": json.dumps(F)}
    rows, dropped, _ = read(row)
    assert [truth for _, truth in rows] == ([] if arguments is None else [[{"name": "f", "arguments": arguments}]])
    assert dropped == ({"not_calls": 1} if arguments is None else {})


@pytest.mark.parametrize(
    "action, truth",
    [
        ({"type": "function_call", "name": "f", "arguments": '{"x": 1}'}, [USED]),
        ({"type": "function_call_batch", "calls": [{"type": "function_call", **USED}] * 2}, [USED, USED]),
        ({"type": "message", "content": "Which one?"}, []),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_of_a_pivot_only_the_expected_action_is_learned(action, truth, as_text):
    items = [ASK, {"type": "function_call", "call_id": "1", **USED, "arguments": '{"x": 0}'}]
    items += [{"type": "function_call_output", "call_id": "1", "output": "5"}, {"type": "reasoning", "summary": []}]
    request = {"input": items, "tools": [{"type": "function", **F}], "parallel_tool_calls": True}
    row = {"trajectory_id": 1, "responses_create_params": request, "expected_action": action, "agent_ref": {}}
    if as_text:
        row = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in row.items()}
    [(prompt, found)], dropped, dialect = read(row, include_no_call=True)
    assert (found, dropped, dialect) == (truth, {"context_only": 1}, "pivot")
    assert [message["role"] for message in prompt] == ["system", "user", "assistant", "tool"]


NULLABLE = {
    "name": "g",
    "parameters": {
        "type": "object",
        "properties": {
            "y": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/nothing"}]},
            "z": {"type": "object", "properties": {"deep": {"type": ["string", "null"]}, "w": {"type": "string"}}},
            "any": {"description": "whatever"},
            "d": {"type": ["string", "null"], "default": None},
        },
        "$defs": {"nothing": {"type": "null"}},
    },
}


@pytest.mark.parametrize(
    "arguments, left",
    [
        ({"x": None, "y": None, "z": None, "any": None}, {"y": None, "any": None}),
        ({"z": {"deep": None, "w": None, "more": None}}, {"z": {"deep": None}}),
        ({"z": {"w": "x", "more": {"inner": None}}, "other": {"inner": None}}, {"z": {"w": "x"}}),
        ({"z": {}, "other": 0, "y": False}, {"z": {}, "other": 0, "y": False}),
    ],
)
def test_nulls_that_the_tool_does_not_allow_go(arguments, left):
    tools = [F, NULLABLE]
    row = {"messages": [ASK, called(tool_calls=tool_calls({"name": "g", "arguments": arguments}))], "tools": tools}
    [(_, truth)], _, _ = read(row)
    assert truth == [{"name": "g", "arguments": left}]
    # In text, which Arrow does not touch, every null was written by somebody.
    row["messages"][1]["tool_calls"][0]["function"]["arguments"] = json.dumps(arguments)
    [(_, truth)], _, _ = read(row)
    assert truth == [{"name": "g", "arguments": arguments}]


@pytest.mark.parametrize("writer", [openai, anthropic, llama_factory])
def test_struct_columns_give_the_rows_of_json(tmp_path, writer):
    rounds = [("q", [("", [{"name": "find", "arguments": {"a": "1"}}], ["r"])], "done")]
    other = [("q", [("s", [{"name": "send_mail", "arguments": {"b": "2"}}] * 2, ["r", "s"])], "done")]
    records = [writer(rounds), writer(other)]
    # Parquet has no empty structs.
    tools = [F, NULLABLE, *json.loads(json.dumps(TOOLS).replace("{}", '{"type": "string"}'))]
    if writer is not llama_factory:
        for record in records:
            record["tools"] = tools
            for message in record["messages"]:
                # A column has one type.
                if isinstance(message["content"], str):
                    message["content"] = [{"type": "text", "text": message["content"]}]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "rows.parquet")
    found = [read(decode_row(row)) for _, row in open_sources([tmp_path / "rows.parquet"]).rows]
    assert found == [read(record) for record in records]
    assert all(rows for rows, _, _ in found)


@pytest.mark.parametrize(
    "row, message",
    [
        (
            {"text": "hello", "id": 5},
            r"no known dialect: found an object with text \(str\), id \(int\); understood are ",
        ),
        ({"prompt": [ASK], "reward_model": {}}, "prepared already"),
        ({"messages": [ASK, {"content": "x"}]}, 'turn 1: expected an object with "role"'),
        ({"messages": [ASK, {"role": "robot", "content": "x"}]}, "turn 1: .*found 'robot'"),
        ([1], "expected an object, found list"),
    ],
)
def test_a_row_that_is_no_conversation_is_one_line(row, message):
    with pytest.raises(UserError, match=message):
        read_conversation(row)


def weather(number):
    return {"name": "get_weather", "arguments": {"city": f"City{number}", "days": number}}


ELSE = {"name": "get_weather", "arguments": {"city": "Else"}}
MAILS = [{"name": "send_mail", "arguments": arguments} for arguments in ({"to": "a", "cc": []}, {"to": "b"})]
A_DAY = {"name": "get_weather", "arguments": {"city": "A", "days": 2}}
X_MAILS = [{"name": "send_mail", "arguments": arguments} for arguments in ({"to": "x", "cc": ["y"]}, {"to": "x"})]


@pytest.mark.parametrize(
    "name, truths",
    [
        ("openai_messages.jsonl", [truth for n in range(6) for truth in ([weather(n)], MAILS)]),
        ("hermes_json_parallel.json", [[weather(n), ELSE] for n in range(6)]),
        ("lf_two_calls_in_a_row.json", [[{"name": "f", "arguments": {"x": x}} for x in (1, 2)]] * 4),
        ("glaive_v2.json", [[{"name": "get_weather", "arguments": {"city": f"City{n}"}}] for n in range(6)]),
        ("wrapped.json", [[{"name": "get_weather", "arguments": {"city": "Köln"}}]] * 6),
        ("x_mixed.json", [[USED]] * 4),
        ("xlam_struct.parquet",
         [[A_DAY], [X_MAILS[0]], [X_MAILS[1], {"name": "get_weather", "arguments": {"city": "B"}}]] * 2),
    ],
)  # fmt: skip
def test_the_files_from_the_field_give_what_they_should(name, truths):
    if not CASES.is_dir():
        pytest.skip(f"needs the cases in {CASES}")
    found = [read(decode_row(row)) for _, row in open_sources([CASES / name]).rows]
    assert [truth for rows, _, _ in found for _, truth in rows] == truths
    if name == "xlam_struct.parquet":
        assert "null" not in str(found[0][0][0][0][0])
    if name == "x_mixed.json":
        assert all(dropped["other_writing"] == 1 for _, dropped, _ in found)


@pytest.mark.parametrize(
    "text, left",
    [
        ("<think>a</think>b", "b"),
        ("a <think>b <think> c</think> d<think>e</think>", "a  d"),
        ("a</think>\nb", "b"),
        ("a <think>b", "a <think>b"),
        ("<scratch_pad>a</think>b</scratch_pad>c", "c"),
        ("a </b>", "a </b>"),
    ],
)
def test_reasoning_is_left_out(text, left):
    assert without_reasoning(text) == left


def test_every_dialect_is_tested():
    assert {*WRITERS, "pivot", "xlam"} == DIALECTS.keys()
