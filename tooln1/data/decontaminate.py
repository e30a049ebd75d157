"""The requests and tools of evaluation files, so that training rows with the same can be left out.

Requests and tools are found by their usual field names: those of BFCL, API-Bank, ACEBench, and prepared parquet files.
Two requests are the same if their words are; case, punctuation and white space do not count. Two tools are the same if
their names and parameter names are.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tooln1.data.sources import decode_row, open_sources
from tooln1.errors import UserError
from tooln1.tool_schema import parameter_names
from tooln1.tools import ToolListError, normalize_tools

REASONS = {
    "query_in_evaluation": "a request of the row occurs in an evaluation file",
    "tool_in_evaluation": "a tool of the row occurs in an evaluation file, with the same parameters",
}

_QUERY_KEYS = ("question", "query", "instruction", "input")
_USERS = ("user", "human")
# Below this length, "Yes, please" and the like would count as a shared request between any two conversations.
_SHORT = 20
_WORDS = re.compile(r"\w+")
_ACEBENCH_TURN = re.compile(r"^(user|system):", re.MULTILINE)


@dataclass
class Evaluation:
    """The requests and tools of evaluation files, in the form in which they are compared."""

    queries: set[str] = field(default_factory=set)
    tools: set[tuple[str, ...]] = field(default_factory=set)

    def why_not(self, queries: Sequence[str], tools: Iterable[Mapping[str, Any]]) -> str | None:
        """Return the reason to drop a row with these user turns and tools, None if it may stay.

        A short turn counts only if it is the row's only one.
        """
        for query in map(normalize_query, queries):
            if query in self.queries and (len(queries) == 1 or len(query) >= _SHORT):
                return "query_in_evaluation"
        return "tool_in_evaluation" if any(signature(tool) in self.tools for tool in tools) else None


def normalize_query(text: str) -> str:
    """Return the words of a text in lower case."""
    return " ".join(_WORDS.findall(text.casefold()))


def signature(tool: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a normalised tool's name, followed by its parameters' names in order."""
    return (tool["name"].strip(), *sorted(parameter_names(tool["parameters"])))


def read_evaluation(paths: Sequence[str | Path]) -> Evaluation:
    """Collect the requests and tools of evaluation files: json, jsonl or parquet.

    Raises:
        UserError: a file cannot be read, or nothing was found in it.
    """
    everything = Evaluation()
    for path in paths:
        found = Evaluation()
        for place, row in open_sources([path]).rows:
            try:
                _collect(decode_row(row), found)
            except UserError as error:
                raise UserError(f"{place}: {error}") from None
        if not found.queries and not found.tools:
            raise UserError(f"{path}: neither a request nor a tool was found in it; is it an evaluation file?")
        everything.queries |= found.queries
        everything.tools |= found.tools
    return everything


def _collect(value: Any, found: Evaluation) -> None:
    if isinstance(value, list):
        for item in value:
            _collect(item, found)
    elif isinstance(value, Mapping):
        _collect_object(value, found)


def _collect_object(value: Mapping[str, Any], found: Evaluation) -> None:
    role = str(value.get("role", value.get("from", ""))).lower()
    said = next((value[key] for key in ("content", "text", "value") if isinstance(value.get(key), str)), "")
    if role in _USERS:
        _add_query(said, found)
    elif role == "system":
        # The tools of a prepared row stand one a line in its system message.
        for line in said.splitlines():
            _collect(_decoded(line), found)
    if isinstance(value.get("name"), str) and "parameters" in value:
        _add_tool(value, found)
        return
    for key, inner in value.items():
        if key in _QUERY_KEYS:
            for text in inner if isinstance(inner, list) else [inner]:
                _add_query(text if isinstance(text, str) else "", found)
        _collect(_decoded(inner), found)


def _add_query(text: str, found: Evaluation) -> None:
    parts = _ACEBENCH_TURN.split(text)
    spoken = zip(parts[1::2], parts[2::2], strict=True)
    turns = [said for who, said in spoken if who == "user"] if len(parts) > 1 else [text]
    found.queries.update(filter(None, map(normalize_query, turns)))


def _add_tool(value: Mapping[str, Any], found: Evaluation) -> None:
    try:
        found.tools.update(map(signature, normalize_tools([value])))
    except ToolListError:
        return


def _decoded(value: Any) -> Any:
    """Decode JSON text: some files hold their tools as text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value
