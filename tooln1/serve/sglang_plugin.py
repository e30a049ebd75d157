"""The reply format for SGLang's server: ``--reasoning-parser tool_n1 --tool-call-parser tool_n1``.

SGLang finds `register` through the entry point group ``sglang.srt.plugins`` before it reads its arguments. Written for
SGLang 0.5.12, whose interface does not allow all that vLLM's does: docs/serving.md says what is missing.
"""

from sglang.srt.function_call.base_format_detector import BaseFormatDetector
from sglang.srt.function_call.core_types import StreamingParseResult, ToolCallItem
from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.parser.reasoning_parser import BaseReasoningFormatDetector, ReasoningParser
from sglang.srt.parser.reasoning_parser import StreamingParseResult as ReasoningParseResult

from tooln1.reward_score.toolcall import CALL, END_CALL, END_THINK, SPACE, THINK
from tooln1.serve.reply import Call, CallsReader, NoCalls, ReasoningReader, read_calls


def register() -> None:
    """Make both parsers known by the name ``tool_n1``."""
    ReasoningParser.DetectorMap["tool_n1"] = ToolN1ReasoningDetector
    FunctionCallParser.ToolCallParserEnum["tool_n1"] = ToolN1Detector


class ToolN1ReasoningDetector(BaseReasoningFormatDetector):
    """``<think>…</think>`` at the start of the reply."""

    def __init__(self, **kwargs):
        # The prompt ends before <think>, whatever SGLang makes of the chat template.
        super().__init__(THINK, END_THINK, **{**kwargs, "force_reasoning": False})
        self._reader = ReasoningReader()

    def detect_and_parse(self, text: str) -> ReasoningParseResult:
        """The reasoning and the content of a whole reply."""
        reader = ReasoningReader()
        reasoning, content = map("".join, zip(reader.feed(text), reader.finish(), strict=True))
        return ReasoningParseResult(content if reader.ended else NoCalls(content), reasoning)

    def parse_streaming_increment(self, new_text: str) -> ReasoningParseResult:
        """What a further piece of a reply lets through."""
        reasoning, content = self._reader.feed(new_text)
        return ReasoningParseResult(content if self._reader.ended else NoCalls(content), reasoning)


class ToolN1Detector(BaseFormatDetector):
    """``<tool_call>[…]</tool_call>`` after the reasoning."""

    def __init__(self):
        super().__init__()
        self.bot_token, self.eot_token = CALL, END_CALL
        self._reader = CallsReader()
        self._block = ""
        self._called = False

    def has_tool_call(self, text: str) -> bool:
        """Whether there is at least one call in the content of a whole reply."""
        return not isinstance(text, NoCalls) and bool(read_calls(text))

    def detect_and_parse(self, text: str, tools) -> StreamingParseResult:
        """The calls of the content of a whole reply."""
        if not self.has_tool_call(text):
            return StreamingParseResult(normal_text=text)
        return StreamingParseResult(calls=_items(read_calls(text)))

    def parse_streaming_increment(self, new_text: str, tools) -> StreamingParseResult:
        """What a further piece of the content lets through: the calls as soon as their block is closed and right.

        SGLang does not say when the reply ends, so what is written after the block cannot make it malformed.
        """
        if isinstance(new_text, NoCalls):
            return StreamingParseResult(normal_text=new_text)
        if self._called:
            return StreamingParseResult(normal_text=new_text if new_text.strip(SPACE) else "")
        content = self._reader.feed(new_text)
        self._block += new_text
        # The tag may also stand inside a JSON string, where it closes nothing.
        calls = read_calls(self._block) if self._block.rstrip(SPACE).endswith(END_CALL) and not content else None
        self._called = bool(calls)
        return StreamingParseResult(normal_text=content, calls=_items(calls or []))

    def supports_structural_tag(self) -> bool:
        """No: for a demanded call SGLang then forces and reads a bare JSON list, its own format."""
        return False

    def structure_info(self):
        """Asked for by the base class, and used only with structural tags."""
        raise NotImplementedError("tool_n1 has no structural tags in SGLang")


def _items(calls: list[Call]) -> list[ToolCallItem]:
    return [
        ToolCallItem(tool_index=index, name=call.name, parameters=call.arguments) for index, call in enumerate(calls)
    ]
