"""BFCL through the official package bfcl-eval, which has the data and decides what is right.

The package lives in its own environment (examples/setup_bfcl.sh), because its pins clash with verl's. `bfcl_bridge`
runs there. Paper and leaderboard: https://gorilla.cs.berkeley.edu/leaderboard.html.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.eval.benchmark import (
    EXTRA,
    FORMAT,
    MISSING,
    TYPE,
    VALUE,
    WRONG_TOOL,
    Benchmark,
    Case,
    Mistake,
    Reading,
    mean,
)
from tooln1.eval.bfcl_ground_truth import ground_truth_calls
from tooln1.eval.bridge import run_bridge
from tooln1.files import one_line
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

# The beginnings of the evaluator's kinds of error.
_KINDS = {
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
        """Load the cases from the package, whose environment has this Python. Raises UserError if it does not work.

        The result and score files in the package's layout go to the folder.
        """
        self._python, self._folder = python, folder
        exported = self._run("export", CATEGORIES)
        self.version = f"bfcl-eval {exported['version']}"
        self.cases = [_case(name, entry, template) for name, rows in exported["categories"].items() for entry in rows]

    def judge(self, case: Case, reading: Reading) -> Mistake | None:
        return self.judge_all({case.id: reading})[case.id]

    def judge_all(self, readings: Mapping[str, Reading]) -> dict[str, Mistake | None]:
        """Have the package judge all responses at once: its start takes longer than the rest."""
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in CATEGORIES}
        for case in self.cases:
            if reading := readings.get(case.id):
                results[case.category].append({"id": case.id, "calls": reading.calls, "problem": reading.problem})
        verdicts = self._run("score", results)
        return {name: _mistake(verdict, readings[name]) for name, verdict in verdicts.items()}

    def groups(self, categories: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
        """Return what the leaderboard calls non-live and live AST accuracy, and their mean, the paper's "overall"."""
        accuracy = {name: categories.get(name, {}).get("accuracy") for name in CATEGORIES}
        simple = mean([accuracy[name] for name in SIMPLE])
        non_live = mean([simple, *(accuracy[name] for name in NON_LIVE[len(SIMPLE) :])])
        live = None
        if mean([accuracy[name] for name in LIVE]) is not None:
            live = mean([accuracy[case.category] for case in self.cases if case.category in LIVE])
        return {"simple": simple, "non_live": non_live, "live": live, "accuracy": mean([non_live, live])}

    def _run(self, command: str, argument: Any) -> Any:
        # With -P, nothing of this folder gets into the other environment.
        line = [self._python, "-P", _BRIDGE, command]
        project = {"BFCL_PROJECT_ROOT": str(self._folder.resolve())}
        hint = "remove BFCL's environment and run: bash examples/setup_bfcl.sh"
        return run_bridge(line, argument, self._folder / f"{command}.log", hint, project)


def find_python(given: str | None = None) -> Path:
    """Return the Python of BFCL's environment: the given one, else .venv-bfcl's here or in the checkout.

    Raises UserError if there is none.
    """
    candidates = [Path(given)] if given else [base / ENVIRONMENT / "bin" / "python" for base in (Path.cwd(), _CHECKOUT)]
    for path in candidates:
        if path.is_file():
            return path.absolute()  # not resolved: the link's target is another environment's Python
    raise UserError(
        f"{candidates[0]}: no Python of BFCL's environment; run: bash examples/setup_bfcl.sh (or name one with "
        "--bfcl-python)"
    )


def _case(category: str, entry: Mapping[str, Any], template: str | None) -> Case:
    # System messages are context; all the others are turns.
    context = "\n\n".join(message["content"] for message in entry["messages"] if message["role"] == "system")
    turns = [message for message in entry["messages"] if message["role"] != "system"]
    return Case(
        id=entry["id"],
        category=category,
        messages=build_messages(entry["tools"], turns, context, template),
        ground_truth=ground_truth_calls(category, entry["answers"], entry["declared"]),
    )


def _mistake(verdict: Mapping[str, Any], reading: Reading) -> Mistake | None:
    if verdict["valid"]:
        return None
    if reading.calls is None:
        return Mistake(FORMAT, reading.problem)
    reason, errors = verdict.get("error_type") or "", verdict.get("error") or []
    if reason.endswith("cannot_find_match"):
        reason, errors = _first_mismatch(errors)
    kind = next((ours for beginning, ours in _KINDS.items() if reason.startswith(beginning)), WRONG_TOOL)
    return Mistake(kind, one_line("; ".join(map(str, errors)), 300))


def _first_mismatch(errors: list[Any]) -> tuple[str, list[Any]]:
    """Choose a reason for parallel calls, each of which the evaluator found unfit: that of a call of the right tool."""
    reasons = [reason for one in errors if isinstance(one, dict) for reason in one.values()]
    named = [reason for reason in reasons if not reason["sub_error_type"].endswith("wrong_func_name")]
    if not named:
        return "wrong_func_name", [errors[0] if errors else "no call fits"]
    return named[0]["sub_error_type"], named[0]["sub_error"]
