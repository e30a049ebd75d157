"""BFCL through the official package bfcl-eval, which has the data and decides what is right.

The package lives in an environment of its own (examples/setup_bfcl.sh), since its pins clash with verl's; `bfcl_bridge`
is what runs there. Paper and leaderboard: https://gorilla.cs.berkeley.edu/leaderboard.html.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.eval.bfcl_reference import reference_calls
from tooln1.eval.cases import (
    CORRECT,
    EXTRA,
    FORMAT,
    MISSING,
    TYPE,
    VALUE,
    WRONG_TOOL,
    Benchmark,
    Case,
    Verdict,
    mean,
    shorten,
    wrong,
)
from tooln1.eval.reply import Reading
from tooln1.prompt import build_messages

# The leaderboard's and the paper's "simple" is the plain mean of the three languages.
SIMPLE = ("simple_python", "simple_java", "simple_javascript")
NON_LIVE = (*SIMPLE, "multiple", "parallel", "parallel_multiple")
LIVE = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
RELEVANCE = ("irrelevance", "live_irrelevance", "live_relevance")
CATEGORIES = (*NON_LIVE, *LIVE, *RELEVANCE)

ENVIRONMENT = Path(".venv-bfcl")
_BRIDGE = Path(__file__).with_name("bfcl_bridge.py")
_CHECKOUT = Path(__file__).resolve().parents[2]
# Models of BFCL's own registry must not have these names, nor "_" or "/" in them.
_MODEL, _REFERENCE = "tooln1", "tooln1-reference"

# The evaluator's kinds of error, by their beginnings.
_ERRORS = {
    "ast_decoder": FORMAT,
    "simple_function_checker:missing": MISSING,
    "simple_function_checker:unexpected_param": EXTRA,
    "type_error": TYPE,
    "value_error": VALUE,
    "dict_checker": VALUE,
    "list_dict_checker": VALUE,
    "evaluator_failed": VALUE,
}


class Bfcl(Benchmark):
    """The single-turn categories that the paper reports, and those about relevance."""

    name = "bfcl"

    def __init__(self, python: Path, folder: Path, template: str | None = None):
        """Load the cases from the package.

        Args:
            python: the Python of the package's environment; see `find_python`.
            folder: where the result and score files in the package's layout go.

        Raises:
            UserError: the package's environment does not work.
        """
        self._python, self._folder = python, folder
        self._impossible: dict[str, str] | None = None
        exported = self._run("export", ",".join(CATEGORIES))
        self.version = f"bfcl-eval {exported['version']}"
        self.cases = [_case(name, entry, template) for name, rows in exported["categories"].items() for entry in rows]

    def judge(self, readings: Mapping[str, Reading]) -> dict[str, Verdict]:
        # The references go along: to start the evaluator takes longer than to judge them.
        references = {case.id: Reading(case.reference) for case in self.cases}
        found = self._run("score", {_MODEL: self._results(readings), _REFERENCE: self._results(references)})
        own, theirs = _verdicts(found[_MODEL], readings), _verdicts(found[_REFERENCE], references)
        self._impossible = {name: verdict.detail for name, verdict in theirs.items() if not verdict.correct}
        return own

    def impossible(self) -> dict[str, str]:
        if self._impossible is None:
            self.judge({})
        return self._impossible or {}

    def groups(self, accuracy: Mapping[str, float | None]) -> dict[str, float | None]:
        """Return what the leaderboard calls non-live and live AST accuracy, and their mean, the paper's "overall"."""
        simple = mean([accuracy.get(name) for name in SIMPLE])
        non_live = mean([simple, *(accuracy.get(name) for name in NON_LIVE[len(SIMPLE) :])])
        live = self._weighted({name: accuracy.get(name) for name in LIVE})
        return {"simple": simple, "non_live": non_live, "live": live, "accuracy": mean([non_live, live])}

    def _weighted(self, accuracy: Mapping[str, float | None]) -> float | None:
        sizes = {name: sum(case.category == name for case in self.cases) for name in accuracy}
        if not all(sizes.values()) or mean(list(accuracy.values())) is None:
            return None
        return sum(sizes[name] * (accuracy[name] or 0.0) for name in accuracy) / sum(sizes.values())

    def _results(self, readings: Mapping[str, Reading]) -> dict[str, list[dict[str, Any]]]:
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in CATEGORIES}
        categories = {case.id: case.category for case in self.cases}
        for name, reading in readings.items():
            found = {"fault": reading.fault} if reading.calls is None else {"calls": reading.calls}
            results[categories[name]].append({"id": name, "result": found})
        return results

    def _run(self, command: str, argument: Any) -> dict[str, Any]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            source, target = Path(scratch) / "in.json", Path(scratch) / "out.json"
            if not isinstance(argument, str):
                source.write_text(json.dumps(argument), encoding="utf-8")
                argument = str(source)
            log = self._folder / f"{command}.log"
            # Without PYTHONPATH and with -P, nothing of this environment or folder gets into the other.
            environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
            environment |= {"BFCL_PROJECT_ROOT": str(self._folder.resolve()), "PYTHONUTF8": "1"}
            with log.open("wb") as output:
                done = subprocess.run(
                    [self._python, "-P", _BRIDGE, command, argument, target],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                )
            if done.returncode != 0:
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                cause = lines[-1][:200] if lines else f"exit code {done.returncode}"
                raise UserError(
                    f"BFCL's environment {self._python} fails: {cause} (see {log}); "
                    "remove it and run: bash examples/setup_bfcl.sh"
                )
            return json.loads(target.read_text(encoding="utf-8"))


def find_python(given: str | None = None) -> Path:
    """Return the Python of BFCL's environment: the given one, or that of .venv-bfcl here or in the checkout.

    Raises:
        UserError: there is none.
    """
    candidates = [Path(given)] if given else [base / ENVIRONMENT / "bin" / "python" for base in (Path.cwd(), _CHECKOUT)]
    for path in candidates:
        if path.is_file():
            return path.absolute()  # not resolved: a link out of the environment would leave it
    raise UserError(
        f"{candidates[0]}: no Python of BFCL's environment; run: bash examples/setup_bfcl.sh (or name one with "
        "--bfcl-python)"
    )


def _case(category: str, entry: Mapping[str, Any], template: str | None) -> Case:
    # System messages are context; all the others are turns as they stand.
    context = "\n\n".join(message["content"] for message in entry["messages"] if message["role"] == "system")
    turns = [message for message in entry["messages"] if message["role"] != "system"]
    return Case(
        id=entry["id"],
        category=category,
        messages=build_messages(entry["tools"], turns, context, template),
        reference=reference_calls(category, entry["answers"], entry["declared"]),
    )


def _verdicts(found: Mapping[str, Mapping[str, Any]], readings: Mapping[str, Reading]) -> dict[str, Verdict]:
    return {name: _verdict(one, readings[name]) for rows in found.values() for name, one in rows.items()}


def _verdict(found: Mapping[str, Any], reading: Reading) -> Verdict:
    if found["valid"]:
        return CORRECT
    if reading.calls is None:
        return wrong(FORMAT, reading.fault)
    kind, errors = found.get("error_type") or "", found.get("error") or []
    if kind.endswith("cannot_find_match"):
        kind, errors = _first_mismatch(errors)
    error = next((ours for beginning, ours in _ERRORS.items() if kind.startswith(beginning)), WRONG_TOOL)
    return wrong(error, shorten("; ".join(map(str, errors)), 300))


def _first_mismatch(errors: list[Any]) -> tuple[str, list[Any]]:
    """Among parallel calls, the evaluator says why each call is not the expected one: take a call of the right tool."""
    reasons = [reason for one in errors if isinstance(one, dict) for reason in one.values()]
    named = [reason for reason in reasons if not reason["sub_error_type"].endswith("wrong_func_name")]
    if not named:
        return "wrong_func_name", [errors[0] if errors else "no call fits"]
    return named[0]["sub_error_type"], named[0]["sub_error"]
