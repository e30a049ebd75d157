"""What verl makes of the settings: keys that nobody reads, and verl's own validation."""

import difflib
import re
from collections.abc import Iterator
from functools import cache

from omegaconf import DictConfig, OmegaConf

from tooln1.checks.findings import Finding, fault, ok
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.config import VERL_CONFIGS, compose, dotted_keys, validate


def check_keys(run: UpcomingRun) -> Iterator[Finding]:
    """Keys that verl's configuration files do not have and its code does not read.

    Hydra refuses unknown keys on the command line; in a YAML file, it takes a mistyped key for a new one.
    """
    known = _compose_verl("sft_trainer_engine" if run.is_sft else "ppo_trainer")
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


@cache
def _compose_verl(name: str) -> DictConfig:
    return compose(str(VERL_CONFIGS / f"{name}.yaml"))


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
