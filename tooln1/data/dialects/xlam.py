"""xlam-function-calling-60k: {"query", "tools", "answers"}, one request and the calls that answer it."""

from tooln1.data.conversation import Dialect, Record, Turn
from tooln1.errors import UserError

_KEYS = ("query", "tools", "answers")


def read(record: Record) -> list[Turn]:
    """Read the row. Raises UserError if a field is missing."""
    missing = [key for key in _KEYS if record.row.get(key) is None]
    if missing:
        found = ", ".join(record.row) or "none"
        raise UserError(f"expected the keys query, tools and answers; {', '.join(missing)} missing, found {found}")
    query = record.row["query"]
    if not isinstance(query, str):
        raise UserError(f'expected text under "query", found {type(query).__name__}')
    return [Turn("user", query), Turn("assistant", "", calls=record.row["answers"])]


DIALECT = Dialect(
    "query, tools and answers",
    lambda record: all(record.row.get(key) is not None for key in _KEYS),
    read,
)
