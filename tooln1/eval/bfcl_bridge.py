"""The half of the BFCL evaluation that runs in bfcl-eval's own environment, by its Python and as a script.

    .venv-bfcl/bin/python bfcl_bridge.py export CATEGORY,… cases.json
    .venv-bfcl/bin/python bfcl_bridge.py score calls.json verdicts.json

It imports nothing of tooln1, whose environment has other versions of numpy and more. `export` writes the cases of the
installed package; `score` writes calls as result files in its layout, has its evaluator judge them, and reads the score
files. The handler for our format is registered at run time. BFCL_PROJECT_ROOT says where all that is written.
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

# Its regular expressions take exponential time on some texts; no case of the benchmark needs a tenth of a second.
SECONDS_PER_CASE = 10
SECONDS_PER_CATEGORY = 300


class ToolN1Handler(BaseHandler):
    """Turns a result, {"calls": [{"name", "arguments"}, …]} or {"fault": why there are none}, into BFCL's calls."""

    def decode_ast(self, result, language, has_tool_call_tag):
        if "calls" not in result:
            raise ValueError(result["fault"])
        return [{call["name"]: call["arguments"]} for call in result["calls"]]


def register(name):
    """Make `name` a model of BFCL's: prompted, so dots in tool names stay. The name must be free of "_" and "/"."""
    MODEL_CONFIG_MAPPING[name] = ModelConfig(
        model_name=name,
        display_name=name,
        url="",
        org="",
        license="",
        model_handler=ToolN1Handler,
        is_fc_model=False,
        underscore_to_dot=False,
    )


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
    """Judge {model: {category: [{"id", "result"}]}} and return {model: {category: {id: verdict}}}.

    A verdict is {"valid"} and, where that is false, {"error", "error_type"} in the evaluator's words.
    """
    verdicts = {}
    for model, categories in results.items():
        register(model)
        verdicts[model] = {name: judge(model, name, entries) for name, entries in categories.items() if entries}
    return verdicts


def judge(model, category, entries):
    """Judge one category; where the evaluator fails as a whole, each case by itself."""
    try:
        with time_limit(SECONDS_PER_CATEGORY):
            return evaluate(model, category, entries)
    except Exception:  # whatever the evaluator raises on calls that it did not expect
        return {entry["id"]: judge_alone(model, category, entry) for entry in entries}


def judge_alone(model, category, entry):
    try:
        with time_limit(SECONDS_PER_CASE):
            return evaluate(model, category, [entry])[entry["id"]]
    except Exception as error:
        message = f"the evaluator cannot judge these calls ({type(error).__name__}: {error})"
        return {"valid": False, "error": [message], "error_type": "evaluator_failed"}


def evaluate(model, category, entries):
    """Have the official evaluator judge a result file, and return the verdicts that its score file holds."""
    folder = get_directory_structure_by_category(category)
    write_list_of_dicts_to_file(
        get_file_name_by_category(category, is_result_file=True), entries, RESULT_PATH / model / folder
    )
    result_file = RESULT_PATH / model / folder / get_file_name_by_category(category, is_result_file=True)
    eval_runner.evaluate_task(
        category,
        RESULT_PATH,
        SCORE_PATH,
        load_file(result_file, sort_by_id=True),
        model,
        eval_runner.get_handler(model),
        {},
        allow_missing=True,
    )
    score_file = SCORE_PATH / model / folder / get_file_name_by_category(category, is_score_file=True)
    _, *failures = load_file(score_file)
    wrong = {entry["id"]: {name: entry.get(name) for name in ("valid", "error", "error_type")} for entry in failures}
    return {entry["id"]: wrong.get(entry["id"], {"valid": True}) for entry in entries}


@contextmanager
def time_limit(seconds):
    """Raise TimeoutError in the body after this many seconds; matching a regular expression is interrupted too."""

    def stop(*_):
        raise TimeoutError(f"{seconds} seconds were not enough")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main():
    command, source, target = sys.argv[1:]
    if command == "export":
        answer = export(source.split(","))
    else:
        answer = score(json.loads(Path(source).read_text(encoding="utf-8")))
    Path(target).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
