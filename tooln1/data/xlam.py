"""Reading rows of xlam-function-calling-60k: {"query", "tools", "answers"}, one request and the calls that answer it.

Tools and answers are JSON text, or decoded already. Tools have flat parameters; an answer is {"name", "arguments"}.
"""

from collections.abc import Mapping
from typing import Any

from tooln1.calls import read_json_calls
from tooln1.data.prepare import Conversation, Turn
from tooln1.errors import UserError
from tooln1.tools import Rejected, normalize_tools

DATA_SOURCE = "toolcall/xlam"


def read_query(record: Any) -> Conversation:
    """Read a row of xLAM. Raises UserError if it lacks one of its three fields."""
    query, tools, answers = _read_fields(record)
    answer = Turn("assistant", str(answers))
    conversation = Conversation(DATA_SOURCE, [Turn("user", query), answer])
    try:
        conversation.tools = normalize_tools(tools)
    except Rejected as error:
        conversation.rejected = error
        return conversation
    try:
        answer.calls = read_json_calls(answers, {tool["name"] for tool in conversation.tools})
    except Rejected as error:
        answer.rejected = error
    return conversation


def _read_fields(record: Any) -> tuple[str, Any, Any]:
    if not isinstance(record, Mapping):
        raise UserError(f"expected an object, found {type(record).__name__}")
    missing = [key for key in ("query", "tools", "answers") if record.get(key) is None]
    if missing:
        raise UserError(f"expected the keys query, tools and answers; {', '.join(missing)} missing")
    if not isinstance(record["query"], str):
        raise UserError(f'expected text under "query", found {type(record["query"]).__name__}')
    return record["query"], record["tools"], record["answers"]
