"""The response format for vLLM's server: a reasoning parser and tool parsers, registered as ``tool_n1``.

This file is what ``--tool-parser-plugin`` and ``--reasoning-parser-plugin`` name. The parsers declare themselves
"engine based", which in vLLM means that they keep state: vLLM then asks the reasoning parser whether the reasoning has
ended, instead of looking for a tag's token, and asks both parsers for the rest when a stream ends. Written for vLLM
0.24 and 0.28, which agree in this.

A response that calls tools becomes ``reasoning`` and ``tool_calls`` with content null; the empty list becomes
``reasoning`` and content ""; a malformed response becomes content.
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vllm.entrypoints.chat_utils import make_tool_call_id
from vllm.entrypoints.openai.engine.protocol import (
    DeltaFunctionCall,
    DeltaMessage,
    DeltaToolCall,
    ExtractedToolCallInformation,
    FunctionCall,
    ToolCall,
)
from vllm.reasoning import ReasoningParserManager
from vllm.reasoning.abs_reasoning_parsers import ReasoningParser
from vllm.sampling_params import StructuredOutputsParams
from vllm.tool_parsers import ToolParserManager
from vllm.tool_parsers.abstract_tool_parser import ToolParser

from tooln1.chat_template import CHAT_TEMPLATE_VARIABLE, template_opens_reasoning
from tooln1.reward_score.toolcall import CALL, END_CALL, END_THINK, TAGS, THINK
from tooln1.serve.responses import Call, NoCalls, Stream, split_calls, split_reasoning
from tooln1.serve.schemas import usable_schemas
from tooln1.tools import normalize_tools


@ReasoningParserManager.register_module("tool_n1")
class ToolN1ReasoningParser(ReasoningParser):
    """``<think>…</think>`` at the start of the response, streamed as it comes."""

    engine_based_streaming = True

    def __init__(self, tokenizer, *args, **kwargs):
        super().__init__(tokenizer, *args, **kwargs)
        self._split = partial(split_reasoning, opened=_opens_reasoning(tokenizer, kwargs.get("chat_template_kwargs")))
        self._stream = Stream(self._split)
        self._has_ended = False

    @property
    def reasoning_start_str(self) -> str:
        """The opening tag, for vLLM's ``thinking_token_budget``."""
        return THINK

    @property
    def reasoning_end_str(self) -> str:
        """The closing tag, for the same."""
        return END_THINK

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        """Return False: a prompt never ends the reasoning."""
        return False

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """Return all ids: the tool parser reads text and no tokens."""
        return list(input_ids)

    def extract_reasoning(self, model_output: str, request) -> tuple[str | None, str]:
        """Return the reasoning and the content of a whole response."""
        reasoning, content, has_ended = self._split(model_output)
        return reasoning or None, content if has_ended else NoCalls(content)

    def extract_reasoning_streaming(
        self, previous_text, current_text, delta_text, previous_token_ids, current_token_ids, delta_token_ids
    ) -> DeltaMessage | None:
        """Return what a further piece of a response adds."""
        reasoning, content, self._has_ended = self._stream.feed(delta_text)
        return _delta(reasoning, content)

    def has_engine_confirmed_reasoning_end(self) -> bool:
        """Return whether the tool parser reads the rest; it never does after malformed reasoning."""
        return self._has_ended

    def finish_streaming(self) -> DeltaMessage | None:
        """Return what was held back when the stream, or the reasoning, ends."""
        return None if self._has_ended else _delta(*self._stream.feed("", done=True)[:2])


@ToolParserManager.register_module("tool_n1")
class ToolN1ToolParser(ToolParser):
    """``<tool_call>[…]</tool_call>`` after the reasoning, held back until the response has ended."""

    engine_based_streaming = True
    # With True, vLLM would force and read its own format, a bare JSON list.
    supports_required_and_named = False
    reasons = True

    def __init__(self, tokenizer, *args, **kwargs):
        super().__init__(tokenizer, *args, **kwargs)
        self._stream = Stream(split_calls)

    def adjust_request(self, request):
        """Constrain the response if the request demands a call: well-formed, with the tools and schemas it allows."""
        special = getattr(self.model_tokenizer, "all_special_tokens", ())
        if any(tag in special for tag in TAGS):
            request.skip_special_tokens = False
        choice = request.tool_choice
        if not request.tools or choice in (None, "auto", "none"):
            return request
        name = None if choice == "required" else getattr(choice, "function", choice).name
        several = name is None and request.parallel_tool_calls is not False
        tools = [tool.model_dump() for tool in request.tools if tool.type == "function"]
        opened = self.reasons and _opens_reasoning(self.model_tokenizer, getattr(request, "chat_template_kwargs", None))
        tag = build_constraint(tools, name=name, several=several, reasons=self.reasons, opened=opened)
        request.structured_outputs = StructuredOutputsParams(structural_tag=json.dumps(tag))
        # vLLM accepts one constraint, and the request demands the call.
        if hasattr(request, "response_format"):
            request.response_format = None
        else:
            request.text = None
        return request

    def extract_tool_calls(self, model_output: str, request) -> ExtractedToolCallInformation:
        """Return the calls in what follows the reasoning of a whole response."""
        calls = None
        if request.tool_choice != "none" and not isinstance(model_output, NoCalls):
            calls = split_calls(model_output)[1]
        if calls is None:
            return ExtractedToolCallInformation(tools_called=False, tool_calls=[], content=model_output)
        functions = [FunctionCall(name=call.name, arguments=call.arguments) for call in calls]
        return ExtractedToolCallInformation(
            tools_called=True,  # also for the empty list: otherwise vLLM makes the block's text the content
            tool_calls=[ToolCall(function=function) for function in functions],
            content=None if calls else "",
        )

    def extract_tool_calls_streaming(
        self,
        previous_text,
        current_text,
        delta_text,
        previous_token_ids,
        current_token_ids,
        delta_token_ids,
        request,
    ) -> DeltaMessage | None:
        """Return what a further piece of the content adds."""
        return _delta("", delta_text if request.tool_choice == "none" else self._stream.feed(delta_text)[0])

    def finish_streaming(self) -> DeltaMessage | None:
        """Return the calls, or else the text that was held back."""
        content, calls = self._stream.feed("", done=True)
        if not calls:
            return _delta("", content)
        return DeltaMessage(tool_calls=[_delta_call(index, call) for index, call in enumerate(calls)])


@ToolParserManager.register_module("tool_n1_direct")
class ToolN1DirectToolParser(ToolN1ToolParser):
    """The same for models trained without reasoning (templates/direct.txt)."""

    reasons = False


def _opens_reasoning(tokenizer: Any, options: Mapping[str, Any] | None) -> bool:
    template = os.environ.get(CHAT_TEMPLATE_VARIABLE)
    given = {"chat_template": Path(template).read_text(encoding="utf-8")} if template else {}
    return template_opens_reasoning(tokenizer, {**given, **(options or {})})


def build_constraint(
    tools: Any, *, name: str | None, several: bool, reasons: bool, opened: bool = False
) -> dict[str, Any]:
    """Return the grammar of a well-formed response with at least one call, for xgrammar.

    It is a structural tag: https://xgrammar.mlc.ai/docs/tutorials/structural_tag

    Args:
        tools: a tool list in any shape that `tooln1.tools.normalize_tools` takes.
        name: the only tool that may be called; None allows every tool.
        several: whether there may be more than one call.
        reasons: whether reasoning comes before the calls.
        opened: whether the prompt ends with an open <think>.

    Raises:
        tooln1.tools.ToolListError: the tool list has no known shape.
    """
    tools = [tool for tool in normalize_tools(tools) if name in (None, tool["name"])]
    calls = [
        _tag(
            f'{{"name": {json.dumps(tool["name"], ensure_ascii=False)}, "arguments": ',
            {"type": "json_schema", "json_schema": schema},
            "}",
        )
        for tool, schema in zip(tools, usable_schemas(tools), strict=True)
    ]
    call_list = {"type": "tags_with_separator", "tags": calls, "separator": ", ", "at_least_one": True}
    block = _tag(f"{CALL}[", {**call_list, "stop_after_first": not several}, f"]{END_CALL}")
    elements = [*_reasoning(opened), block] if reasons else [block]
    return {"type": "structural_tag", "format": {"type": "sequence", "elements": elements}}


def _reasoning(opened: bool) -> list[dict[str, Any]]:
    text = {"type": "any_text", "excludes": [THINK, CALL, END_CALL]}
    # The regular expression keeps the reasoning from being blank.
    inside = {"type": "sequence", "elements": [{"type": "regex", "pattern": r"[^\s<]"}, text]}
    return [_tag("" if opened else THINK, inside, END_THINK), {"type": "const_string", "value": "\n"}]


def _tag(begin: str, content: dict[str, Any], end: str) -> dict[str, Any]:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def _delta(reasoning: str, content: str) -> DeltaMessage | None:
    fields = {name: text for name, text in (("reasoning", reasoning), ("content", content)) if text}
    return DeltaMessage(**fields) if fields else None


def _delta_call(index: int, call: Call) -> DeltaToolCall:
    function = DeltaFunctionCall(name=call.name, arguments=call.arguments)
    return DeltaToolCall(index=index, id=make_tool_call_id(), type="function", function=function)
