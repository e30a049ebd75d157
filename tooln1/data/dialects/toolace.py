"""ToolACE: the whole text of an assistant is its calls, [Tool Name(a=1), …]; the system text lists the tools.

ShareGPT files with turns for calls (LLaMA-Factory's, ms-swift's, APIGen-MT's) have JSON objects in the same place.
"""

import re
from typing import Any

from tooln1.calls import CallReader, read_json_calls
from tooln1.data.conversation import Dialect, Message, Record, Turn, without_reasoning
from tooln1.data.dialects import glaive
from tooln1.literals import CallError

_JSON_CALLS = re.compile(r"\s*(?:\[\s*)?\{")
# An assistant's text that is calls, or a system text that asks for such.
_CALLS = re.compile(
    r"""\A\s*\[[^\[\](){}="'\n]{1,200}\(|\A\s*(?:\[\s*)?\{\s*["'](?:name|type)["']|in the format of \[\w+\("""
)

# ToolACE's system text says how to answer; the template says it differently.
INSTRUCTIONS = [
    re.compile(
        "|".join(
            sentence.replace(" ", r"\s+")
            for sentence in (
                r"You are given a question and a set of possible functions\.",
                r"Based on the question, you will need to make one or more function/tool calls "
                r"to achieve the purpose\.",
                r"If none of the functions? can be used, point it out\.",
                r"If the given question lacks the parameters required by the function, also point it out\.",
                r"You should only return the function calls? in (?:tools call sections|your response)\.",
                r"Here is a list of functions in JSON format that you can invoke[:.]?",
                r"Should you decide to return the function call\(s\)[.,]",
                r"If you decide to invoke any of the function\(s\),",
                r"(?:you MUST )?put it in the format of \[[^\]]*\]\.?",
                r"NO other text MUST be included\.",
                r"You SHOULD NOT include any other text in (?:the|your) response\.",
            )
        ),
        re.IGNORECASE,
    )
]


def read(record: Record) -> list[Turn]:
    """Read the messages; a turn for calls has nothing else in it."""
    return [_turn(message) for message in record.messages]


def _turn(message: Message) -> Turn:
    if message.role != "call":
        return message.turn()
    calls = without_reasoning(message.content) if isinstance(message.content, str) else message.content
    return Turn("assistant", "", message.position, calls=calls)


def written(text: str, reader: CallReader) -> tuple[str, list[Any]] | None:
    """Return the calls that the text is; None if it is prose."""
    try:
        return "", read_text(text, reader)
    except CallError as error:
        if error.reason in ("not_calls", "prose"):
            return None
        raise


def read_text(text: str, reader: CallReader) -> list[dict[str, Any]]:
    """Return the calls that a text is, ToolACE's or objects. Raises CallError."""
    return read_json_calls(text, reader.names) if _JSON_CALLS.match(text) else reader.read(text)


DIALECT = Dialect("[tool(a=1)]", lambda record: any(map(_CALLS.search, record.texts)), read, written, INSTRUCTIONS)
SHAREGPT = Dialect(
    "turns of function_call or tool_call",
    lambda record: any(message.role == "call" for message in record.messages),
    read,
    instructions=glaive.INSTRUCTIONS,
)
