"""From a row of xlam-function-calling-60k to a row for reinforcement learning.

The source's rows are {"query", "tools", "answers"}, tools and answers being JSON text (or what it decodes to). Tools
have flat parameters; an answer is {"name", "arguments"}.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tooln1.calls import Rejected, normalize_tools, read_json_calls
from tooln1.data.pipeline import Outcome
from tooln1.data.rows import make_row, why_not_row
from tooln1.errors import UserError
from tooln1.prompt import fill_template

DATA_SOURCE = "toolcall/xlam"

_CACHED_LISTS = 2048

ROW_REASONS = {
    "no_call": "the query is answered without a call (--include-no-call keeps it)",
    "no_request": "the query is blank",
}


def prepare_query(record: Any, source_row: int, template: str | None = None, include_no_call: bool = False) -> Outcome:
    """Make the row of an xLAM record; `template` is a template's text, None for the thinking template.

    Raises:
        UserError: the record lacks one of its three fields.
    """
    query, tools, answers = _read_record(record)
    outcome = Outcome(DATA_SOURCE)
    try:
        system, names, number_of_tools = (_system_of_text if isinstance(tools, str) else _system)(tools, template)
        calls = read_json_calls(answers, names)
    except Rejected as error:
        outcome.drop(error.reason, f"row {source_row}", f"{error.detail}\n{answers}")
        return outcome
    reason = "no_request" if not query.strip() else None if calls or include_no_call else "no_call"
    if reason is None:
        row = make_row(
            data_source=DATA_SOURCE,
            messages=[{"role": "system", "content": system}, {"role": "user", "content": query}],
            calls=calls,
            source_row=source_row,
            num_tools=number_of_tools,
        )
        reason = why_not_row(row)
    if reason:
        outcome.drop(reason, f"row {source_row}", query)
    else:
        outcome.rows.append(row)
    return outcome


def _system(tools: Any, template: str | None) -> tuple[str, frozenset[str], int]:
    """Return the system message for a tool list, the names in the list, and their number."""
    listed = normalize_tools(tools)
    return fill_template(listed, template=template), frozenset(tool["name"] for tool in listed), len(listed)


# Several queries of the source share a tool list, and preparing that takes longer than all the rest.
_system_of_text = lru_cache(_CACHED_LISTS)(_system)


def _read_record(record: Any) -> tuple[str, Any, Any]:
    if not isinstance(record, Mapping):
        raise UserError(f"expected an object, found {type(record).__name__}")
    missing = [key for key in ("query", "tools", "answers") if record.get(key) is None]
    if missing:
        raise UserError(f"expected the keys query, tools and answers; {', '.join(missing)} missing")
    if not isinstance(record["query"], str):
        raise UserError(f'expected text under "query", found {type(record["query"]).__name__}')
    return record["query"], record["tools"], record["answers"]
