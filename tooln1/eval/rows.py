"""Held-out rows in the project's own schema, judged by the reward they were trained with.

The prompt is the row's, unchanged. A category is a data source, or a kind of rows in it if `extra_info.kind` names one.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tooln1.analysis.explain import explain
from tooln1.data.validate import validate_parquet
from tooln1.eval.benchmark import EXTRA, MISSING, TYPE, VALUE, WRONG_TOOL, Benchmark, Calls, Case, Mistake, Reading
from tooln1.prompt import format_response, split_system
from tooln1.reward_score.toolcall import compute_score


class Rows(Benchmark):
    """The rows of one parquet file."""

    name = "rows"

    def __init__(self, path: Path, template: str | None = None):
        """Load the rows; those written with this template have known tools. Raises UserError for a broken row."""
        validate_parquet(path)
        self.cases = list(_cases(path, template))
        self.version = path.name

    def judge(self, case: Case, reading: Reading) -> Mistake | None:
        ground_truth = case.data["ground_truth"]
        response = format_response(reading.calls, "-")
        score = compute_score(case.category, response, ground_truth)
        if score["acc"] == 1:
            return None
        kind = _kind(reading.calls, case.ground_truth) if score["tool_name"] else WRONG_TOOL
        return Mistake(kind, explain(response, ground_truth).detail)

    def groups(self, categories: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
        """Return the accuracy over all rows."""
        correct, scored = (sum(one[name] for one in categories.values()) for name in ("correct", "scored"))
        return {"accuracy": correct / scored if scored else None}


def _cases(path: Path, template: str | None) -> Iterator[Case]:
    for number, row in enumerate(pq.read_table(path).to_pylist()):
        ground_truth = row["reward_model"]["ground_truth"]
        turns = [{"role": message["role"], "content": message["content"]} for message in row["prompt"]]
        context, tools = "", None
        with suppress(ValueError):  # another template: the prompt stays whole
            context, tools = split_system(turns[0]["content"], template)
            turns = turns[1:]
        kind = (row.get("extra_info") or {}).get("kind")
        yield Case(
            id=f"{path.stem}/{number}",
            category=f"{row['data_source']}: {kind}" if kind else row["data_source"],
            ground_truth=json.loads(ground_truth),
            turns=turns,
            tools=tools,
            context=context,
            data={"ground_truth": ground_truth},
        )


def _kind(calls: Calls, expected: Calls) -> str:
    """Return the kind of the first difference between calls with the same names."""
    by_name = itemgetter("name")
    for call, wanted in zip(sorted(calls, key=by_name), sorted(expected, key=by_name), strict=True):
        ours, theirs = call["arguments"], wanted["arguments"]
        if theirs.keys() - ours.keys():
            return MISSING
        if ours.keys() - theirs.keys():
            return EXTRA
        if any(type(ours[name]) is not type(theirs[name]) for name in ours):
            return TYPE
        if ours != theirs:
            return VALUE
    return VALUE  # only values inside an argument differ in type
