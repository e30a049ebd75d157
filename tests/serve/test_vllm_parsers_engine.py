"""The parsers as vLLM uses them: registered by their file, composed by its parser manager, whole and streamed."""

import copy
import json
from itertools import accumulate

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("vllm", reason="vLLM is not installed")

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser import ParserManager
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager

from tooln1.prompt import TAGS
from tooln1.serve.command import PARSERS

CALLS = '<tool_call>[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]</tool_call>'
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("f", "g")
]
NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module", autouse=True)
def plugin():
    """What --tool-parser-plugin and --reasoning-parser-plugin do."""
    ToolParserManager.import_tool_parser(str(PARSERS))
    ReasoningParserManager.import_reasoning_parser(str(PARSERS))


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def new_parser(tokenizer):
    """Makes vLLM's parser for one response."""

    def make(direct=False):
        names = ("tool_n1_direct", None) if direct else ("tool_n1", "tool_n1")
        return ParserManager.get_parser(*names, enable_auto_tools=True)(tokenizer, None)

    return make


def ask(**fields):
    messages = [{"role": "user", "content": "x"}]
    return ChatCompletionRequest(**{"model": "m", "messages": messages, "tools": TOOLS, **fields})


def whole(parser, response, request):
    """(reasoning, content, calls) of a response in one piece, nothing and empty text being the same."""
    reasoning, content, calls = parser.parse(response, request, enable_auto_tools=True)
    return reasoning or "", content or "", [(call.name, call.arguments) for call in calls or []]


def streamed(parser, pieces, request, prompt=(1, 2)):
    """The same, put together from the deltas as a client does."""
    reasoning, content, calls = "", "", {}
    for number, piece in enumerate(pieces):
        finished = number == len(pieces) - 1
        delta = parser.parse_delta(piece, [7] * len(piece), request, prompt_token_ids=list(prompt), finished=finished)
        if delta is None:
            continue
        reasoning, content = reasoning + (delta.reasoning or ""), content + (delta.content or "")
        for call in delta.tool_calls:
            assert call.id and call.type == "function" and call.index not in calls
            calls[call.index] = (call.function.name, call.function.arguments)
    assert list(calls) == list(range(len(calls)))
    return reasoning, content, list(calls.values())


BOTH = [("f", '{"a": 1}'), ("g", "{}")]


@pytest.mark.parametrize(
    "response, fields, expected",
    [
        (f"<think>why</think>\n{CALLS}", {}, ("why", "", BOTH)),
        (f"<think>why</think>\n{CALLS}", {"tool_choice": "required"}, ("why", "", BOTH)),
        (f"<think>why</think>\n{CALLS}", {"tool_choice": NAMED}, ("why", "", BOTH)),
        ("<think>why</think>\n<tool_call>[]</tool_call>", {}, ("why", "", [])),
        # Who may not call gets the text of the model.
        (f"<think>why</think>\n{CALLS}", {"tool_choice": "none"}, ("why", f"\n{CALLS}", [])),
        (f"<think>why</think>\n{CALLS}", {"tools": None}, ("why", f"\n{CALLS}", [])),
        # Malformed, before the calls or in them.
        (CALLS, {}, ("", CALLS, [])),
        (f"<think>why</think>{CALLS}.", {"tool_choice": "required"}, ("why", f"{CALLS}.", [])),
        ("<think>why</think>\n<tool_call>[{", {}, ("why", "\n<tool_call>[{", [])),
        ("<think>why</thi", {}, ("why</thi", "", [])),
        ("", {}, ("", "", [])),
    ],
)
def test_a_response_whole_and_streamed(response, fields, expected, new_parser):
    request = ask(**fields)
    assert whole(new_parser(), response, request) == expected
    assert streamed(new_parser(), list(response) or [""], request) == expected
    assert streamed(new_parser(), [response], request) == expected


OPENS = "{{ messages }}{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}"


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_chat_template_may_open_the_reasoning(by_variable, tokenizer, tmp_path, monkeypatch):
    tokenizer = copy.copy(tokenizer)
    if by_variable:  # as `tooln1 serve --chat-template` sets it
        (tmp_path / "opens.jinja").write_text(OPENS)
        monkeypatch.setenv("TOOLN1_CHAT_TEMPLATE", str(tmp_path / "opens.jinja"))
    else:
        tokenizer.chat_template = OPENS

    def new(**options):
        made = ParserManager.get_parser("tool_n1", "tool_n1", enable_auto_tools=True)
        return made(tokenizer, None, **({"chat_template_kwargs": options} if options else {}))

    inside, outside = f"why</think>\n{CALLS}", f"<think>why</think>\n{CALLS}"
    assert whole(new(), inside, ask()) == streamed(new(), list(inside), ask()) == ("why", "", BOTH)
    assert whole(new(enable_thinking=False), outside, ask()) == ("why", "", BOTH)
    for options, begin in ((None, ""), ({"enable_thinking": False}, "<think>")):
        request = new().adjust_request(ask(tool_choice="required", chat_template_kwargs=options))
        assert json.loads(request.structured_outputs.structural_tag)["format"]["elements"][0]["begin"] == begin


def test_tags_in_the_prompt_are_no_reasoning_of_the_response(new_parser, tokenizer):
    prompt = tokenizer("Reason in <think></think>, call in <tool_call></tool_call>")["input_ids"]
    assert streamed(new_parser(), ["<think>a</think>", CALLS], ask(), prompt) == ("a", "", BOTH)


@pytest.mark.parametrize(
    "response, expected",
    [(CALLS, ("", "", BOTH)), (f"<think>a</think>{CALLS}", ("", f"<think>a</think>{CALLS}", []))],
)
def test_a_model_trained_without_reasoning(response, expected, new_parser):
    assert whole(new_parser(direct=True), response, ask()) == expected
    assert streamed(new_parser(direct=True), list(response), ask()) == expected


PIECES = st.sampled_from([*TAGS, *TAGS, "<", "</tool", "\n", "é😀", "why", CALLS, CALLS[11:-12], '"</tool_call>"'])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(PIECES, max_size=10).map("".join),
    st.lists(st.integers(1, 30), min_size=1, max_size=60),
    st.sampled_from(["auto", "none"]),  # of a demanded call vLLM leaves blank content out, but only when not streaming
)
def test_the_deltas_of_any_stream_add_up_to_the_whole_answer(new_parser, response, lengths, choice):
    ends = [end for end in accumulate(lengths) if end < len(response)]
    pieces = [response[start:end] for start, end in zip([0, *ends], [*ends, len(response)], strict=True)]
    request = ask(tool_choice=choice)
    assert streamed(new_parser(), pieces, request) == whole(new_parser(), response, request)


@pytest.mark.parametrize(
    "choice, parallel, names, only_one",
    [
        ("required", True, ["f", "g"], False),
        ("required", False, ["f", "g"], True),
        (NAMED, True, ["f"], True),
    ],
)
def test_a_demanded_call_constrains_the_response(choice, parallel, names, only_one, new_parser):
    request = ask(tool_choice=choice, parallel_tool_calls=parallel, response_format={"type": "json_object"})
    request = new_parser().adjust_request(request)
    thought, _, block = json.loads(request.structured_outputs.structural_tag)["format"]["elements"]
    assert thought["begin"] == "<think>" and block["begin"] == "<tool_call>["
    assert [call["begin"] for call in block["content"]["tags"]] == [
        f'{{"name": "{name}", "arguments": ' for name in names
    ]
    assert block["content"]["stop_after_first"] is only_one
    assert request.response_format is None


@pytest.mark.parametrize("fields", [{}, {"tool_choice": "none"}, {"tools": None}])
def test_other_requests_are_not_constrained(fields, new_parser):
    assert new_parser().adjust_request(ask(**fields)).structured_outputs is None


def test_tags_that_are_special_tokens_are_not_left_out_of_the_text(new_parser, tokenizer):
    assert new_parser().adjust_request(ask()).skip_special_tokens
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>"]})
    assert not new_parser().adjust_request(ask()).skip_special_tokens
