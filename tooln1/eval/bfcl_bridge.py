"""The half of the BFCL evaluation that runs in bfcl-eval's environment, as a script for `tooln1.eval.bridge`.

It imports nothing of tooln1, whose environment has other versions of numpy and more. `export` returns the cases of the
installed package; `execute` runs the calls of a conversation; `score` writes responses as result files in the package's
layout, has its evaluator judge them, and reads the score files. The handler for our format is registered at run time.
BFCL_PROJECT_ROOT names the folder for all these files.
"""

import ast
import json
import os
import signal
import sys
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version

from bfcl_eval.constants.default_prompts import DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC, MAXIMUM_STEP_LIMIT
from bfcl_eval.constants.eval_config import MULTI_TURN_FUNC_DOC_PATH, RESULT_PATH, SCORE_PATH
from bfcl_eval.constants.model_config import MODEL_CONFIG_MAPPING, ModelConfig
from bfcl_eval.eval_checker import eval_runner
from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_utils
from bfcl_eval.model_handler.base_handler import BaseHandler
from bfcl_eval.model_handler.utils import default_decode_ast_prompting, system_prompt_pre_processing_chat_model
from bfcl_eval.utils import (
    get_directory_structure_by_category,
    get_file_name_by_category,
    is_format_sensitivity,
    is_multi_turn,
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
UNKNOWN = "unknown_tool"
# These compute with any number of digits: from larger integers, a response could keep them busy for hours.
COSTLY, LARGEST = ("power", "square_root", "logarithm"), 10_000


class ToolN1Handler(BaseHandler):
    """Turns a response into BFCL's calls.

    A response is {"calls": [{"name", "arguments"}, …] or None, "problem": why there are none}, or, in
    format_sensitivity, {"text"} for the package's own decoders.
    """

    def decode_ast(self, result, language, has_tool_call_tag):
        if "text" in result:
            return default_decode_ast_prompting(result["text"], language, has_tool_call_tag)
        if result["calls"] is None:
            raise ValueError(result["problem"])
        return [{call["name"]: call["arguments"]} for call in result["calls"]]

    def decode_execute(self, result, has_tool_call_tag):
        return [as_code(call) for call in result["calls"] or []]


def as_code(call):
    """Write a call for the package's executor, which evaluates it as Python.

    So that a response can run nothing else, the name must be a tool's, and the arguments are literals.
    """
    name, arguments = call["name"], call["arguments"]
    if name not in tool_names():
        return f"{UNKNOWN}()"
    if name in COSTLY:
        large = {key for key, value in arguments.items() if type(value) is int and abs(value) > LARGEST}
        arguments = {key: float(str(value)) if key in large else value for key, value in arguments.items()}
    return f"{name}(**{arguments!r})"


@cache
def tool_names():
    return {tool["name"] for path in MULTI_TURN_FUNC_DOC_PATH.glob("*.json") for tool in load_file(path)}


def export(categories):
    """Return the package's version, what its multi-turn handler says and allows, and {category: cases}."""
    return {
        "version": version("bfcl-eval"),
        "new_tools": DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC,
        "most_steps": MAXIMUM_STEP_LIMIT,
        "categories": {category: list(export_cases(category)) for category in categories},
    }


def export_cases(category):
    """Yield cases; "declared" holds the tools before BFCL's hints on languages, "held_out" those of later turns."""
    shown = load_dataset_entry(category)
    declared = load_dataset_entry(category, include_language_specific_hint=False)
    answers = [None] * len(shown) if is_relevance_or_irrelevance(category) else load_ground_truth_entry(category)
    for entry, plain, answer in zip(shown, declared, answers, strict=True):
        case = {"id": entry["id"], "tools": entry["function"], "declared": plain["function"]}
        case["answers"] = answer and answer["ground_truth"]
        case["held_out"] = entry.get("missed_function", {})
        case["turns"] = entry["question"]
        if is_format_sensitivity(category):
            case["turns"] = [system_prompt_pre_processing_chat_model(entry["question"][0], case["tools"], entry["id"])]
        elif is_multi_turn(category):
            tools = {tool["name"]: tool for tool in sum(case["held_out"].values(), case["tools"])}
            case["answers"] = [[as_call(text, tools) for text in turn] for turn in case["answers"]]
        yield case


def as_call(text, tools):
    """Return a call of the ground truth, which is written in Python: positional arguments get their names."""
    call = ast.parse(text, mode="eval").body
    names = list(tools[call.func.id]["parameters"]["properties"])
    arguments = {**dict(zip(names, call.args, strict=False)), **{one.arg: one.value for one in call.keywords}}
    return {"name": call.func.id, "arguments": {name: ast.literal_eval(value) for name, value in arguments.items()}}


@cache
def multi_turn_entries(category):
    return {entry["id"]: entry for entry in load_dataset_entry(category)}


def execute(conversation):
    """Run the steps of a conversation, {"id", "category", "steps": [calls, …]}; return the results of each step."""
    entry = multi_turn_entries(conversation["category"])[conversation["id"]]
    forget_instances()
    return [[run(entry, call) for call in step] for step in conversation["steps"]]


def run(entry, call):
    with time_limit(SECONDS_PER_CASE):
        [result], _ = multi_turn_utils.execute_multi_turn_func_call(
            [as_code(call)],
            entry["initial_config"],
            entry["involved_classes"],
            MODEL,
            entry["id"],
            long_context="long_context" in entry["id"],
        )
    return result.replace(UNKNOWN, call["name"])


def forget_instances():
    """Forget earlier conversations: the package keeps their objects in variables of a module."""
    for name in [name for name in vars(multi_turn_utils) if name.startswith(MODEL)]:
        delattr(multi_turn_utils, name)


def score(results):
    """Judge {category: [{"id", "response"}]} and return {id: verdict}.

    A verdict is {"valid"} and, if it is not valid, {"error", "error_type"} in the evaluator's words. The response of a
    case with several turns is a list of turns, lists of responses.
    """
    known = {"model_name": MODEL, "display_name": MODEL, "url": "", "org": "", "license": ""}
    # A prompted model: dots in tool names stay.
    prompted = {"is_fc_model": False, "underscore_to_dot": False}
    MODEL_CONFIG_MAPPING[MODEL] = ModelConfig(**known, **prompted, model_handler=ToolN1Handler)
    verdicts = {}
    for category, rows in results.items():
        verdicts |= judge(category, [{"id": row["id"], "result": row["response"]} for row in rows]) if rows else {}
    return verdicts


def judge(category, entries):
    """Judge one category; where the evaluator fails as a whole, judge each case alone."""
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
    forget_instances()
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
    wrong = {entry["id"]: verdict(entry) for entry in failures}
    return {entry["id"]: wrong.get(entry["id"], {"valid": True}) for entry in entries}


def verdict(entry):
    error, kind = entry.get("error"), entry.get("error_type")
    if isinstance(error, dict):  # of several turns
        details = error.get("details") or {}
        error, kind = [error["error_message"], *map(details.get, details)], error["error_type"]
    return {"valid": False, "error": error, "error_type": kind}


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
    # What the package prints goes to the log.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            name, argument = json.loads(line)
            print(json.dumps({"export": export, "execute": execute, "score": score}[name](argument)), file=answers)
            answers.flush()


if __name__ == "__main__":
    main()
