"""The reply format for vLLM's server: a reasoning parser and a tool parser, both called ``tool_n1``.

vLLM feeds both the text that it decodes (vllm.parser.abstract_parser.DelegatingParser). They declare themselves "engine
based", which in vLLM means that they keep a state of their own: it then asks the reasoning parser whether the reasoning
has ended, instead of looking for a tag's token, and asks both for what they hold back when a stream ends. Written for
vLLM 0.24 and 0.28, whose interfaces agree in this.

For a reply that calls tools, a client gets ``reasoning`` and ``tool_calls`` with content null; for the empty list,
``reasoning`` and content ""; for a malformed reply, its text as content.
"""

import json
from collections.abc import Sequence

from vllm.entrypoints.chat_utils import make_tool_call_id
from vllm.entrypoints.openai.engine.protocol import (
    DeltaFunctionCall,
    DeltaMessage,
    DeltaToolCall,
    ExtractedToolCallInformation,
    FunctionCall,
    ToolCall,
)
from vllm.reasoning.abs_reasoning_parsers import ReasoningParser
from vllm.sampling_params import StructuredOutputsParams
from vllm.tool_parsers.abstract_tool_parser import ToolParser

from tooln1.prompt import TAGS
from tooln1.reward_score.toolcall import END_THINK, THINK
from tooln1.serve.constraint import build_constraint
from tooln1.serve.reply import Call, CallsReader, NoCalls, ReasoningReader


class ToolN1ReasoningParser(ReasoningParser):
    """``<think>…</think>`` at the start of the reply, streamed as it comes."""

    engine_based_streaming = True

    def __init__(self, tokenizer, *args, **kwargs):
        super().__init__(tokenizer, *args, **kwargs)
        self._reader = ReasoningReader()

    @property
    def reasoning_start_str(self) -> str:
        """The opening tag, for vLLM's ``thinking_token_budget``."""
        return THINK

    @property
    def reasoning_end_str(self) -> str:
        """The closing tag, for the same."""
        return END_THINK

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        """Never in a prompt: the reply itself opens the reasoning."""
        return False

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """All of them: the tool parser reads the text and no tokens."""
        return list(input_ids)

    def extract_reasoning(self, model_output: str, request) -> tuple[str | None, str]:
        """The reasoning and the content of a whole reply."""
        reader = ReasoningReader()
        reasoning, content = map("".join, zip(reader.feed(model_output), reader.finish(), strict=True))
        return reasoning or None, content if reader.ended else NoCalls(content)

    def extract_reasoning_streaming(
        self, previous_text, current_text, delta_text, previous_token_ids, current_token_ids, delta_token_ids
    ) -> DeltaMessage | None:
        """What a further piece of a reply lets through."""
        return _delta(*self._reader.feed(delta_text))

    def has_engine_confirmed_reasoning_end(self) -> bool:
        """Whether the tool parser is to read what comes; never after malformed reasoning."""
        return self._reader.ended

    def finish_streaming(self) -> DeltaMessage | None:
        """What was held back when the stream ended, or when the reasoning did."""
        return None if self._reader.ended else _delta(*self._reader.finish())


class ToolN1ToolParser(ToolParser):
    """``<tool_call>[…]</tool_call>`` after the reasoning, held back until the reply is over and known to be right."""

    engine_based_streaming = True
    # vLLM would otherwise force and read its own format, a bare JSON list.
    supports_required_and_named = False
    reasons = True

    def __init__(self, tokenizer, *args, **kwargs):
        super().__init__(tokenizer, *args, **kwargs)
        self._reader = CallsReader()

    def adjust_request(self, request):
        """Constrain the reply where the request demands a call: well-formed, of the tools and schemas it allows."""
        special = getattr(self.model_tokenizer, "all_special_tokens", ())
        if any(tag in special for tag in TAGS):
            request.skip_special_tokens = False
        choice = request.tool_choice
        if not request.tools or choice in (None, "auto", "none"):
            return request
        name = None if choice == "required" else getattr(choice, "function", choice).name
        several = name is None and request.parallel_tool_calls is not False
        tools = [tool.model_dump() for tool in request.tools if tool.type == "function"]
        tag = build_constraint(tools, name=name, several=several, reasons=self.reasons)
        request.structured_outputs = StructuredOutputsParams(structural_tag=json.dumps(tag))
        # vLLM takes one constraint only, and the call was demanded.
        if hasattr(request, "response_format"):
            request.response_format = None
        else:
            request.text = None
        return request

    def extract_tool_calls(self, model_output: str, request) -> ExtractedToolCallInformation:
        """The calls of a whole reply, of which ``model_output`` is what follows the reasoning."""
        calls = None
        if request.tool_choice != "none" and not isinstance(model_output, NoCalls):
            reader = CallsReader()
            reader.feed(model_output)
            _, calls = reader.finish()
        if calls is None:
            return ExtractedToolCallInformation(tools_called=False, tool_calls=[], content=model_output)
        functions = [FunctionCall(name=call.name, arguments=call.arguments) for call in calls]
        return ExtractedToolCallInformation(
            tools_called=True,  # of the empty list too: otherwise vLLM puts the block's own text in the content
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
        """What a further piece of the content lets through."""
        return _delta("", delta_text if request.tool_choice == "none" else self._reader.feed(delta_text))

    def finish_streaming(self) -> DeltaMessage | None:
        """The calls, or else the text that was held back."""
        content, calls = self._reader.finish()
        if not calls:
            return _delta("", content)
        return DeltaMessage(tool_calls=[_delta_call(index, call) for index, call in enumerate(calls)])


class ToolN1DirectToolParser(ToolN1ToolParser):
    """``tool_n1_direct``: the same for models trained without reasoning (templates/direct.txt)."""

    reasons = False


def _delta(reasoning: str, content: str) -> DeltaMessage | None:
    fields = {name: text for name, text in (("reasoning", reasoning), ("content", content)) if text}
    return DeltaMessage(**fields) if fields else None


def _delta_call(index: int, call: Call) -> DeltaToolCall:
    function = DeltaFunctionCall(name=call.name, arguments=call.arguments)
    return DeltaToolCall(index=index, id=make_tool_call_id(), type="function", function=function)
