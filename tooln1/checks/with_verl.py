"""What verl makes of the settings: keys that nobody reads, verl's own validation, and the reward function."""

import difflib
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
from omegaconf import OmegaConf

from tooln1.checks.findings import Finding, fault, ok, warning
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.config import VERL_CONFIGS, compose, dotted_keys, validate
from tooln1.prompt import format_response
from tooln1.reward_score import REWARDS, reward_name

_REWARD_ROWS = 20
_OUR_REWARD = REWARDS["strict"]


def check_keys(run: UpcomingRun) -> Iterator[Finding]:
    """Keys that verl's configuration files do not have and its code does not read.

    Hydra refuses unknown keys on the command line; in a YAML file, it takes a mistyped key for a new one.
    """
    name = "sft_trainer_engine" if run.is_sft else "ppo_trainer"
    known = compose(str(VERL_CONFIGS / f"{name}.yaml"))
    names = set(dotted_keys(OmegaConf.to_container(known)))
    for key in dotted_keys(OmegaConf.to_container(run.config)):
        parent, _, name = key.rpartition(".")
        # verl passes on what is in its empty mappings, and in ray_init.
        siblings = OmegaConf.select(known, parent) if parent else known
        if key in names or not siblings or parent == "ray_kwargs.ray_init" or _is_read(name):
            continue
        close = difflib.get_close_matches(name, map(str, siblings), n=1)
        hint = f"did you mean {close[0]}?" if close else "remove it, or correct its name"
        yield fault(f"{key}: no such setting, verl would never read it; {hint}")


def _is_read(name: str) -> bool:
    """Whether a name occurs in verl's code at all."""
    word = re.compile(rf"\b{re.escape(name)}\b")
    return any(word.search(path.read_text(errors="replace")) for path in VERL_CONFIGS.parents[1].rglob("*.py"))


def check_validation(run: UpcomingRun) -> Iterator[Finding]:
    """What verl's validation and its dataclasses refuse."""
    config = run.config.copy()
    for key in run.missing:
        OmegaConf.update(config, key, "not-set", force_add=True)  # verl checks the rest
    validate(config)
    yield ok("verl's own validation and dataclasses accept every part")


def check_reward(run: UpcomingRun) -> Iterator[Finding]:
    """A reward function that cannot be loaded, that raises, or that gives a right response no reward.

    The right responses are written from the ground truths of the first rows of the training data.
    """
    if run.is_sft:
        return
    path = run.read("reward.custom_reward_function.path")
    where = f"reward.custom_reward_function.path={path}"
    if not path:
        yield fault(f"{where}: expected a file or {_OUR_REWARD}; verl's own rewards know no tool calls")
        return
    from verl.trainer.ppo.reward import get_custom_reward_fn

    try:
        reward = get_custom_reward_fn(run.config)
    except Exception as error:  # any class: a user's file is imported
        yield fault(f"{where}: cannot be loaded ({type(error).__name__}: {error}); expected {_OUR_REWARD}")
        return
    rows = _first_rows(run.train_files[0]) if run.rows else []
    for number, row in enumerate(rows):
        problem = _reward_problem(reward, row)
        if problem:
            # Another reward may well expect another kind of response.
            report = fault if reward_name(path) or "raises" in problem else warning
            yield report(f"{where}: row {number} of {run.train_files[0]}: {problem}")
            return
    yield ok(f"{path}: rewards the right response to each of {len(rows)} rows" if rows else f"{path}: can be loaded")


def _reward_problem(reward: Any, row: dict[str, Any]) -> str | None:
    truth = row["reward_model"]["ground_truth"]
    response = format_response(json.loads(truth), "The right call.")
    arguments = {"data_source": row["data_source"], "solution_str": response, "ground_truth": truth}
    try:
        result = reward(**arguments, extra_info=row.get("extra_info"))
    except Exception as error:  # any class: it is a user's function
        return f"raises {type(error).__name__}: {error}; correct it or reward_kwargs"
    if inspect.isawaitable(result):
        result.close()
        return None
    score = result["score"] if isinstance(result, dict) else result
    if not isinstance(score, (int, float)) or score <= 0:
        return f"the response with the right calls scores {score!r}, expected more than 0; correct the function or row"
    return None


def _first_rows(path: str) -> list[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if name != "prompt"]
        return next(file.iter_batches(_REWARD_ROWS, columns=names)).to_pylist()
