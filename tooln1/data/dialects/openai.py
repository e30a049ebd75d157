"""OpenAI's chat messages, as fine-tuning files, TRL and LangChain hold them: an assistant has tool_calls.

Arguments are text or objects; the older function_call holds one call.
"""

from tooln1.data.conversation import Dialect, Message, Record, Turn, decoded, is_filled

_KEYS = ("tool_calls", "function_call")


def recognises(record: Record) -> bool:
    """Return whether a message has calls beside its text."""
    return any(key in message.fields and is_filled(message.fields[key]) for message in record.messages for key in _KEYS)


def read(record: Record) -> list[Turn]:
    """Read the messages."""
    return [_turn(message) for message in record.messages]


def _turn(message: Message) -> Turn:
    fields = message.fields
    for key in _KEYS:
        if key in fields and is_filled(fields[key]):
            calls = decoded(fields[key])
            calls = calls if isinstance(calls, list) else [calls]
            return message.turn(calls=calls, ids=[call.get("id") for call in calls if isinstance(call, dict)])
    return message.turn(ids=[fields["tool_call_id"]] if fields.get("tool_call_id") else ())


DIALECT = Dialect("messages with tool_calls", recognises, read)
