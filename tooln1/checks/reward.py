"""The reward function of a run, loaded as verl loads it, and tried on a right response to every row."""

import inspect
import json
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tooln1.checks.data_files import read_rows
from tooln1.checks.findings import Finding, fault, ok, warning
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.prompt import format_response
from tooln1.reward_score import REWARDS
from tooln1.reward_score.toolcall import THINK

_KEY = "reward.custom_reward_function"
_OURS = REWARDS["strict"]
_SECONDS = 3.0  # for each file: another reward may take its time


def check_reward(run: UpcomingRun) -> Iterator[Finding]:
    """A reward function that cannot be loaded, that raises, or that gives a right response no reward.

    The right responses are written from the ground truths.
    """
    if run.is_sft:
        return
    path = run.read(f"{_KEY}.path")
    where = f"{_KEY}.path={path}"
    if not path:
        yield fault(f"{where}: expected a file or {_OURS}; verl's own rewards know no tool calls")
        return
    from verl.trainer.ppo.reward import get_custom_reward_fn

    try:
        run.reward = get_custom_reward_fn(run.config)
    except (Exception, SystemExit) as error:  # any class: a user's file is imported
        cause = error.__cause__ or error
        yield fault(f"{where}: cannot be loaded ({type(cause).__name__}: {cause}); expected {_OURS}")
        return
    count = 0
    for file in [*run.train_files, *run.val_files] if run.rows and run.val_rows else ():
        end = time.monotonic() + _SECONDS
        for number, row in enumerate(read_rows(file)):
            if time.monotonic() > end:
                break
            problem = problem_of(run, row, right_response(run, row))
            if problem:
                yield report_problem(run, f"{where}: row {number} of {file}: {problem}")
                run.reward = None
                return
            count += 1
    yield ok(f"{path}: rewards the right response to each of {count:,} rows" if count else f"{path}: can be loaded")


def report_problem(run: UpcomingRun, problem: str) -> Finding:
    """A fault; a warning if another reward works but scores low: it may well expect another kind of response."""
    return warning(problem) if not run.has_our_reward and " scores " in problem else fault(problem)


def right_response(run: UpcomingRun, row: Mapping[str, Any]) -> str:
    """Return what the model is to write for a row: without the <think> that the prompt opens."""
    response = format_response(json.loads(row["reward_model"]["ground_truth"]), "The right call.")
    return response.removeprefix(THINK) if run.opens_think else response


def problem_of(run: UpcomingRun, row: Mapping[str, Any], response: str) -> str | None:
    """Return what is wrong with the reward of a right response."""
    arguments = {"data_source": row["data_source"], "ground_truth": row["reward_model"]["ground_truth"]}
    if run.has_our_reward:
        arguments["prompt_opens_think"] = run.opens_think
    try:
        result = run.reward(**arguments, solution_str=response, extra_info=row.get("extra_info"))
        if inspect.isawaitable(result):
            result.close()
            return None
        score = result["score"] if isinstance(result, dict) else result
    except (Exception, SystemExit) as error:  # any class: it is a user's function
        return f"raises {type(error).__name__}: {error}; correct it or reward_kwargs"
    if not isinstance(score, (int, float)) or math.isnan(score):
        return f"returns {score!r}, expected a number, or a dictionary with the number score; correct the function"
    if score <= 0:
        return f"the response with the right calls scores {score}, expected more than 0; correct the function or row"
    return None
