"""OpenAI's chat messages, as fine-tuning files, TRL and LangChain hold them: an assistant has tool_calls.

Arguments are text or objects; the older function_call holds one call.
"""

from collections.abc import Mapping

from tooln1.data.conversation import Dialect, Message, Record, Turn, decoded, is_filled

_CALL_KEYS = ("tool_calls", "function_call")


def recognises(record: Record) -> bool:
    """Return whether a message has calls beside its text."""
    return any(is_filled(message.fields.get(key)) for message in record.messages for key in _CALL_KEYS)


def read(record: Record) -> list[Turn]:
    """Read the messages."""
    return [_turn(message) for message in record.messages]


def _turn(message: Message) -> Turn:
    fields = message.fields
    calls = next((decoded(fields[key]) for key in _CALL_KEYS if is_filled(fields.get(key))), None)
    if calls is None:
        return message.turn(ids=[fields["tool_call_id"]] if fields.get("tool_call_id") else ())
    calls = calls if isinstance(calls, list) else [calls]
    return message.turn(calls=calls, ids=[call.get("id") for call in calls if isinstance(call, Mapping)])


DIALECT = Dialect("messages with tool_calls", recognises, read)
