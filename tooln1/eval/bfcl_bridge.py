"""The half of the BFCL evaluation that the Python of bfcl-eval's environment runs, as a script.

    .venv-bfcl/bin/python bfcl_bridge.py export categories.json cases.json
    .venv-bfcl/bin/python bfcl_bridge.py score results.json verdicts.json

It imports nothing of tooln1, whose environment has other versions of numpy and more. `export` writes the cases of the
installed package; `score` writes calls as result files in its layout, has its evaluator judge them, and reads the score
files. The handler for our format is registered at run time. BFCL_PROJECT_ROOT names the folder for all these files.
"""

import json
import signal
import sys
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from bfcl_eval.constants.eval_config import RESULT_PATH, SCORE_PATH
from bfcl_eval.constants.model_config import MODEL_CONFIG_MAPPING, ModelConfig
from bfcl_eval.eval_checker import eval_runner
from bfcl_eval.model_handler.base_handler import BaseHandler
from bfcl_eval.utils import (
    get_directory_structure_by_category,
    get_file_name_by_category,
    is_relevance_or_irrelevance,
    load_dataset_entry,
    load_file,
    load_ground_truth_entry,
    write_list_of_dicts_to_file,
)

# The evaluator's regular expressions take exponential time on some texts; no case of the benchmark needs 0.1 s.
SECONDS_PER_CASE = 10
SECONDS_PER_CATEGORY = 300
# Must not be a name in BFCL's own registry, nor contain "_" or "/".
MODEL = "tooln1"


class ToolN1Handler(BaseHandler):
    """Turns a result, {"calls": [{"name", "arguments"}, …]} or {"problem": why there are none}, into BFCL's calls."""

    def decode_ast(self, result, language, has_tool_call_tag):
        if result["calls"] is None:
            raise ValueError(result["problem"])
        return [{call["name"]: call["arguments"]} for call in result["calls"]]


def export(categories):
    """Return {"version", "categories": {name: cases}}; "declared" holds the tools before BFCL's hints on languages."""
    found = {}
    for category in categories:
        shown = load_dataset_entry(category)
        declared = load_dataset_entry(category, include_language_specific_hint=False)
        answers = [None] * len(shown) if is_relevance_or_irrelevance(category) else load_ground_truth_entry(category)
        found[category] = [
            {
                "id": entry["id"],
                "messages": entry["question"][0],
                "tools": entry["function"],
                "declared": plain["function"],
                "answers": answer and answer["ground_truth"],
            }
            for entry, plain, answer in zip(shown, declared, answers, strict=True)
        ]
    return {"version": version("bfcl-eval"), "categories": found}


def score(results):
    """Judge {category: [{"id", "calls", "problem"}]} and return {id: verdict}.

    A verdict is {"valid"} and, if it is not valid, {"error", "error_type"} in the evaluator's words.
    """
    # A prompted model: dots in tool names stay.
    MODEL_CONFIG_MAPPING[MODEL] = ModelConfig(
        model_name=MODEL,
        display_name=MODEL,
        url="",
        org="",
        license="",
        model_handler=ToolN1Handler,
        is_fc_model=False,
        underscore_to_dot=False,
    )
    verdicts = {}
    for category, rows in results.items():
        verdicts |= judge(category, rows) if rows else {}
    return verdicts


def judge(category, rows):
    """Judge one category; where the evaluator fails as a whole, judge each case alone."""
    entries = [{"id": row["id"], "result": {"calls": row["calls"], "problem": row["problem"]}} for row in rows]
    try:
        with time_limit(SECONDS_PER_CATEGORY):
            return evaluate(category, entries)
    except Exception:  # the evaluator raises anything on calls that it did not expect
        return {entry["id"]: judge_alone(category, entry) for entry in entries}


def judge_alone(category, entry):
    try:
        with time_limit(SECONDS_PER_CASE):
            return evaluate(category, [entry])[entry["id"]]
    except Exception as error:
        message = f"the evaluator cannot judge these calls ({type(error).__name__}: {error})"
        return {"valid": False, "error": [message], "error_type": "evaluator_failed"}


def evaluate(category, entries):
    """Have the official evaluator judge a result file, and return the verdicts that its score file holds."""
    folder = get_directory_structure_by_category(category)
    result_file = RESULT_PATH / MODEL / folder / get_file_name_by_category(category, is_result_file=True)
    score_file = SCORE_PATH / MODEL / folder / get_file_name_by_category(category, is_score_file=True)
    write_list_of_dicts_to_file(result_file.name, entries, result_file.parent)
    eval_runner.evaluate_task(
        category,
        RESULT_PATH,
        SCORE_PATH,
        load_file(result_file, sort_by_id=True),
        MODEL,
        eval_runner.get_handler(MODEL),
        {},
        allow_missing=True,
    )
    _, *failures = load_file(score_file)
    wrong = {entry["id"]: {name: entry.get(name) for name in ("valid", "error", "error_type")} for entry in failures}
    return {entry["id"]: wrong.get(entry["id"], {"valid": True}) for entry in entries}


@contextmanager
def time_limit(seconds):
    """Raise TimeoutError in the body after this many seconds, also while a regular expression is matched."""

    def stop(*_):
        raise TimeoutError(f"{seconds} seconds were not enough")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def main():
    command, source, target = sys.argv[1:]
    work = {"export": export, "score": score}[command]
    answer = work(json.loads(Path(source).read_text(encoding="utf-8")))
    Path(target).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
