"""The response format for SGLang's server: ``--reasoning-parser tool_n1 --tool-call-parser tool_n1``.

SGLang finds `register` through the entry point group ``sglang.srt.plugins`` before it reads its arguments. Written for
SGLang 0.5.12, whose interface allows less than vLLM's: docs/serving.md lists what is missing.
"""

from functools import partial

from sglang.srt.function_call.base_format_detector import BaseFormatDetector
from sglang.srt.function_call.core_types import StreamingParseResult, ToolCallItem
from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.parser.reasoning_parser import BaseReasoningFormatDetector, ReasoningParser
from sglang.srt.parser.reasoning_parser import StreamingParseResult as ReasoningParseResult

from tooln1.reward_score.toolcall import CALL, END_CALL, END_THINK, SPACE, THINK
from tooln1.serve.responses import Call, NoCalls, Stream, read_calls, split_calls, split_reasoning


def register() -> None:
    """Register both parsers as ``tool_n1``, and ``tool_n1_opened`` for prompts that end with an open <think>."""
    ReasoningParser.DetectorMap["tool_n1"] = ToolN1ReasoningDetector
    ReasoningParser.DetectorMap["tool_n1_opened"] = ToolN1OpenedReasoningDetector
    FunctionCallParser.ToolCallParserEnum["tool_n1"] = ToolN1Detector


class ToolN1ReasoningDetector(BaseReasoningFormatDetector):
    """``<think>…</think>`` at the start of the response."""

    opened = False

    def __init__(self, **kwargs):
        # The name of the parser says where the prompt ends; SGLang may conclude otherwise from the chat template.
        super().__init__(THINK, END_THINK, **{**kwargs, "force_reasoning": self.opened})
        self._split = partial(split_reasoning, opened=self.opened)
        self._stream = Stream(self._split)

    def detect_and_parse(self, text: str) -> ReasoningParseResult:
        """Return the reasoning and the content of a whole response."""
        return self._result(*self._split(text))

    def parse_streaming_increment(self, new_text: str) -> ReasoningParseResult:
        """Return what a further piece of a response adds."""
        return self._result(*self._stream.feed(new_text))

    @staticmethod
    def _result(reasoning: str, content: str, has_ended: bool) -> ReasoningParseResult:
        return ReasoningParseResult(content if has_ended else NoCalls(content), reasoning)


class ToolN1OpenedReasoningDetector(ToolN1ReasoningDetector):
    """The same for a prompt that ends with an open <think>: the response begins inside the reasoning."""

    opened = True


class ToolN1Detector(BaseFormatDetector):
    """``<tool_call>[…]</tool_call>`` after the reasoning."""

    def __init__(self):
        super().__init__()
        self.bot_token, self.eot_token = CALL, END_CALL
        self._stream = Stream(split_calls)
        self._block = ""
        self._called = False

    def has_tool_call(self, text: str) -> bool:
        """Return whether the content of a whole response has at least one call."""
        return not isinstance(text, NoCalls) and bool(read_calls(text))

    def detect_and_parse(self, text: str, tools) -> StreamingParseResult:
        """Return the calls in the content of a whole response."""
        if not self.has_tool_call(text):
            return StreamingParseResult(normal_text=text)
        return StreamingParseResult(calls=_items(read_calls(text)))

    def parse_streaming_increment(self, new_text: str, tools) -> StreamingParseResult:
        """Return what a further piece of the content adds: the calls as soon as their block is closed and well-formed.

        SGLang does not tell when the response ends, so text after the block cannot make the block malformed.
        """
        if isinstance(new_text, NoCalls):
            return StreamingParseResult(normal_text=new_text)
        if self._called:
            return StreamingParseResult(normal_text=new_text if new_text.strip(SPACE) else "")
        content, _ = self._stream.feed(new_text)
        self._block += new_text
        # The tag may also stand inside a JSON string, where it closes nothing.
        calls = read_calls(self._block) if self._block.rstrip(SPACE).endswith(END_CALL) else None
        self._called = bool(calls)
        return StreamingParseResult(normal_text=content, calls=_items(calls or []))

    def supports_structural_tag(self) -> bool:
        """Return False: for a demanded call SGLang then forces and reads its own format, a bare JSON list."""
        return False

    def structure_info(self):
        """Required by the base class, and used only with structural tags."""
        raise NotImplementedError("tool_n1 has no structural tags in SGLang")


def _items(calls: list[Call]) -> list[ToolCallItem]:
    return [
        ToolCallItem(tool_index=index, name=call.name, parameters=call.arguments) for index, call in enumerate(calls)
    ]
