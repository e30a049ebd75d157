"""BFCL through the official package bfcl-eval, which has the data and decides what is right.

The package lives in its own environment (examples/setup_bfcl.sh), because its pins clash with verl's. `bfcl_bridge`
runs there. Paper and leaderboard: https://gorilla.cs.berkeley.edu/leaderboard.html.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import stdev
from typing import Any

from tooln1.errors import UserError
from tooln1.eval.benchmark import (
    EXTRA,
    FORMAT,
    MISSING,
    OUTCOME,
    TYPE,
    VALUE,
    WRONG_TOOL,
    Benchmark,
    Case,
    Mistake,
    Reading,
    Turns,
    mean,
)
from tooln1.eval.bfcl_ground_truth import ground_truth_calls
from tooln1.eval.bridge import Bridge
from tooln1.files import one_line

# The leaderboard's and the paper's "simple" is the plain mean of the three languages.
SIMPLE = ("simple_python", "simple_java", "simple_javascript")
NON_LIVE = (*SIMPLE, "multiple", "parallel", "parallel_multiple")
LIVE = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
IRRELEVANCE = ("irrelevance", "live_irrelevance")
CATEGORIES = (*NON_LIVE, *LIVE, *IRRELEVANCE, "live_relevance")
MULTI_TURN = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
FORMATS = "format_sensitivity"
# The categories that the names of --bench stand for.
SETS = {"bfcl": CATEGORIES, "bfcl_multi_turn": MULTI_TURN, "bfcl_format_sensitivity": (FORMATS,)}
# The leaderboard's weights of its overall accuracy; agentic (web search and memory) is not measured here.
V4_WEIGHTS = {"non_live": 0.1, "live": 0.1, "irrelevance": 0.1, "multi_turn": 0.3}

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
    "multi_turn:empty_turn": WRONG_TOOL,
    "multi_turn": OUTCOME,
}


class Bfcl(Benchmark):
    """The categories of one or more sets; by default those of one turn that the paper reports."""

    name = "bfcl"

    def __init__(self, python: Path, folder: Path, sets: Sequence[str] = ("bfcl",)):
        """Load the cases from the package, whose environment has this Python. Raises UserError if it does not work.

        The result and score files in the package's layout go to the folder.
        """
        # With -P, nothing of this folder gets into the other environment.
        command, project = [python, "-P", _BRIDGE], {"BFCL_PROJECT_ROOT": str(folder.resolve())}
        hint = "remove BFCL's environment and run: bash examples/setup_bfcl.sh"
        self._bridge = Bridge(command, folder / "bridge.log", hint, project)
        exported = self._bridge("export", [category for one in sets for category in SETS[one]])
        self._new_tools, self._most_steps = exported["new_tools"], exported["most_steps"]
        self.version = f"bfcl-eval {exported['version']}"
        self.cases = [self._case(name, one) for name, found in exported["categories"].items() for one in found]

    def judge(self, case: Case, reading: Reading) -> Mistake | None:
        return self.judge_all({case.id: reading})[case.id]

    def judge_all(self, readings: Mapping[str, Reading]) -> dict[str, Mistake | None]:
        """Have the package judge all responses at once: its start takes longer than the rest."""
        results: dict[str, list[dict[str, Any]]] = {}
        for case in self.cases:
            if reading := readings.get(case.id):
                response = self._for_package(case, reading)
                results.setdefault(case.data["category"], []).append({"id": case.id, "response": response})
        # In format_sensitivity the package reads the text, and its problem is not ours.
        free = {row["id"] for row in results.get(FORMATS, ())}
        return {
            name: _mistake(verdict, replace(readings[name], problem="") if name in free else readings[name])
            for name, verdict in self._bridge("score", results).items()
        }

    def next_turns(self, case: Case, readings: Sequence[Reading]) -> Turns | None:
        if "turns" not in case.data:
            return super().next_turns(case, readings)
        walk = self.walk(case, readings)
        return None if walk.finished else walk.turns

    def walk(self, case: Case, readings: Sequence[Reading]) -> "Walk":
        """Return where a conversation stands after these responses, by the rules of the package's own handlers.

        A response without calls ends a turn. After too many with calls the rest of the conversation is left out.
        """
        walk, left = Walk(), list(readings)
        steps = [reading.calls for reading in readings if reading.calls]
        conversation = {"id": case.id, "category": case.category, "steps": steps}
        results = iter(self._bridge("execute", conversation) if steps else ())
        for user in case.data["turns"]:
            walk.turns.append(user)
            walk.steps.append([])
            while len(walk.steps[-1]) <= self._most_steps:
                if not left:
                    return walk
                reading = left.pop(0)
                walk.steps[-1].append(reading)
                if not reading.calls:
                    text = reading.response.rpartition("</think>")[2].strip()
                    walk.turns.append({"role": "assistant", "content": text})
                    break
                walk.turns.append({"role": "assistant", "calls": reading.calls})
                walk.turns += [{"role": "tool", "content": result} for result in next(results)]
            else:
                break
        walk.finished = True
        return walk

    def transcript(self, case: Case, reading: Reading) -> Turns | None:
        return self.walk(case, reading.all).turns if "turns" in case.data else None

    def oracle(self, case: Case) -> Reading | None:
        if "turns" not in case.data:
            return None if case.data["category"] == FORMATS else super().oracle(case)
        steps = [step for calls in case.ground_truth for step in ([calls, []] if calls else [[]])]
        *earlier, last = (Reading("", calls) for calls in steps)
        return Reading(last.response, last.calls, earlier=tuple(earlier))

    def groups(self, categories: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
        """Return what the leaderboard calls non-live and live AST accuracy, and their mean, the paper's "overall".

        With the categories of several turns, also the leaderboard's overall as far as it is measured.
        """
        accuracy = {name: categories.get(name, {}).get("accuracy") for name in (*CATEGORIES, *MULTI_TURN)}
        simple = mean([accuracy[name] for name in SIMPLE])
        non_live = mean([simple, *(accuracy[name] for name in NON_LIVE[len(SIMPLE) :])])
        live = None
        if mean([accuracy[name] for name in LIVE]) is not None:
            live = mean([accuracy[case.category] for case in self.cases if case.category in LIVE])
        groups = {"simple": simple, "non_live": non_live, "live": live} if categories.keys() & set(CATEGORIES) else {}
        if categories.keys() & set(MULTI_TURN):
            groups["irrelevance"] = mean([accuracy[name] for name in IRRELEVANCE])
            groups["multi_turn"] = mean([accuracy[name] for name in MULTI_TURN])
            groups |= dict.fromkeys(("web_search", "memory"))
            parts = [groups.get(name) for name in V4_WEIGHTS]
            measured = mean(parts) is not None
            weighted = zip(V4_WEIGHTS.values(), parts, strict=True)
            groups["v4_overall_partial"] = sum(weight * part for weight, part in weighted) if measured else None
        formats = [one["accuracy"] for name, one in categories.items() if name.startswith(FORMATS)]
        if mean(formats) is not None:
            groups[FORMATS] = mean(formats)
            groups["format_max_delta"] = max(formats) - min(formats)
            groups["format_std"] = stdev(formats) if len(formats) > 1 else 0.0
        return {**groups, "accuracy": mean([non_live, live])}

    def _case(self, category: str, entry: Mapping[str, Any]) -> Case:
        turns = [message for turn in entry["turns"] for message in turn]
        ground_truth, tools, data = entry["answers"], entry["tools"], {"category": category}
        if category == FORMATS:
            # The package's prompt has the tools; its id names the format, and the case that it comes from.
            _, variant, _ = entry["id"].split(":")
            return Case(entry["id"], f"{category}: {variant}", ground_truth, turns, data=data)
        if category in MULTI_TURN:
            held_out = {int(turn): held for turn, held in entry["held_out"].items()}
            new = {"role": "user", "content": self._new_tools}
            turns = [{**new, "tools": held_out[n]} if n in held_out else t[0] for n, t in enumerate(entry["turns"])]
            data |= {"turns": turns, "all_tools": sum(held_out.values(), tools)}
            return Case(entry["id"], category, ground_truth, turns[:1], tools, data=data)
        ground_truth = ground_truth_calls(category, entry["answers"], entry["declared"])
        return Case(entry["id"], category, ground_truth, turns, tools, data=data)

    def _for_package(self, case: Case, reading: Reading) -> Any:
        if case.data["category"] == FORMATS:
            return {"text": reading.response.rpartition("</think>")[2].strip()}
        if "turns" not in case.data:
            return {"calls": reading.calls, "problem": reading.problem}
        turns = self.walk(case, reading.all).steps
        return [[{"calls": step.calls, "problem": step.problem} for step in steps] for steps in turns]


@dataclass
class Walk:
    """A conversation: its turns, and the readings in each turn of the user."""

    turns: Turns = field(default_factory=list)
    steps: list[list[Reading]] = field(default_factory=list)
    finished: bool = False


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


def _mistake(verdict: Mapping[str, Any], reading: Reading) -> Mistake | None:
    if verdict["valid"]:
        return None
    reason, errors = verdict["error_type"] or "", verdict["error"] or []
    if reason.endswith("decoder_failed") and reading.calls is None:
        return Mistake(FORMAT, reading.problem or one_line("; ".join(errors), 300))
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
