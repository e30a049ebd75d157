"""The rewards, one module each, named by verl's ``reward.custom_reward_function.path``: strict and paper."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

REWARDS = {"strict": "pkg://tooln1.reward_score.toolcall", "paper": "pkg://tooln1.reward_score.toolcall_paper"}


def reward_name(path: Any) -> str | None:
    """Return "strict" or "paper" for the path of a configuration's reward function, None for another reward.

    The path may also be the module's file, as ``path/to/tooln1/reward_score/toolcall.py``.
    """
    module = str(path).removesuffix(".py").replace("/", ".")
    return next((name for name, ours in REWARDS.items() if module.endswith(ours.removeprefix("pkg://"))), None)


def reward_function(name: str) -> Callable[..., dict[str, float]]:
    """Return the `compute_score` of "strict" or "paper"."""
    return import_module(REWARDS[name].removeprefix("pkg://")).compute_score
