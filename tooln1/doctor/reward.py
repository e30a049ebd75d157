"""The reward function of a run: verl must find it, and it must reward the right answer."""

import inspect
import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tooln1.doctor.findings import Findings
from tooln1.prompt import format_response
from tooln1.reward_score import reward_name

_ROWS = 20
_OURS = "pkg://tooln1.reward_score.toolcall"


def check_reward(findings: Findings, config: DictConfig, train_files: list[Path]) -> None:
    """Report a reward function that cannot be loaded, that raises, or that gives the right reply no reward.

    The right reply is written from a row's own ground truth, for the first rows of the training data.
    """
    path = OmegaConf.select(config, "reward.custom_reward_function.path")
    where = f"reward.custom_reward_function.path={path}"
    if not path:
        findings.fault("reward", f"{where}: expected a file or {_OURS}; verl's own rewards know no tool calls")
        return
    from verl.trainer.ppo.reward import get_custom_reward_fn

    try:
        reward = get_custom_reward_fn(config)
    except Exception as error:  # whatever importing somebody's file raises
        findings.fault("reward", f"{where}: cannot be loaded ({type(error).__name__}: {error}); expected {_OURS}")
        return
    rows = _first_rows(train_files)
    for number, row in enumerate(rows):
        problem = _problem(reward, row)
        if problem:
            # Another grammar than this project's may well want another reply.
            report = findings.fault if reward_name(path) or "raises" in problem else findings.warn
            report("reward", f"{where}: row {number} of {train_files[0]}: {problem}")
            return
    found = f"gives the right reply to each of {len(rows)} rows its reward" if rows else "is found"
    findings.ok("reward", f"{path}: {found}")


def _problem(reward: Any, row: dict[str, Any]) -> str | None:
    truth = row["reward_model"]["ground_truth"]
    reply = format_response(json.loads(truth), "The right call.")
    arguments = {"data_source": row["data_source"], "solution_str": reply, "ground_truth": truth}
    try:
        result = reward(**arguments, extra_info=row.get("extra_info"))
    except Exception as error:  # somebody's function
        return f"raises {type(error).__name__}: {error}; mend it or reward_kwargs"
    if inspect.isawaitable(result):
        result.close()
        return None
    score = result["score"] if isinstance(result, dict) else result
    if not isinstance(score, (int, float)) or score <= 0:
        return f"the reply with the right calls scores {score!r}; expected more than 0; mend the function or the row"
    return None


def _first_rows(paths: list[Path]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    for path in paths:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name != "prompt"]
            return next(file.iter_batches(_ROWS, columns=names)).to_pylist()
    return []
