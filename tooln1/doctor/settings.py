"""The configuration itself: composed, complete, without keys that nobody reads, and accepted by verl."""

import dataclasses
import difflib
import functools
import importlib.metadata
import inspect
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tooln1.config import is_sft, validate
from tooln1.doctor.findings import Findings

# A model and files that stand in for what is not set, so that verl can check the rest.
_STAND_IN = "not-set"


def check_missing(findings: Findings, config: DictConfig, missing: list[str]) -> DictConfig:
    """Report settings without a value; return the configuration with a stand-in for each."""
    for key in missing:
        findings.fault("settings", f"{key}: not set; add {key}=…", here=True)
    return with_stand_in(config, *missing)


def with_stand_in(config: DictConfig, *keys: str) -> DictConfig:
    """A copy with a name that nothing has for each of the keys."""
    filled = config.copy()
    for key in keys:
        OmegaConf.update(filled, key, _STAND_IN, force_add=True)
    return filled


def is_set(config: DictConfig, key: str) -> bool:
    """Whether a setting has a value that is not check_missing's."""
    return OmegaConf.select(config, key) not in (None, _STAND_IN)


def check_with_verl(findings: Findings, config: DictConfig) -> None:
    """Report what verl's own validation and dataclasses refuse."""
    before = len(findings.items)
    key = "actor_rollout_ref.model.lora_rank"
    if not _has_vllm() and OmegaConf.select(config, key):
        # verl asks vLLM for the ranks it takes, and stops if there is none; the rules have that limit too.
        config = config.copy()
        OmegaConf.update(config, key, 0)
    with findings.checking("settings"):
        validate(config)
    if len(findings.items) == before:
        findings.ok("settings", "composed; verl's own validation and dataclasses take every part")


def check_keys(findings: Findings, config: DictConfig) -> None:
    """Report keys that neither verl's configuration files nor its dataclasses have, nor its code reads.

    Hydra refuses unknown keys on the command line; in a YAML file of one's own it takes a mistyped key for a new one.
    """
    verl = Path(next(iter(find_spec("verl").submodule_search_locations)))
    base = _verls_own(verl / "trainer" / "config", "sft_trainer_engine" if is_sft(config) else "ppo_trainer")
    for key, siblings in _unknown(config, base):
        name = key.rpartition(".")[2]
        if not _is_read(verl, name):
            close = difflib.get_close_matches(name, siblings, n=1)
            hint = f"did you mean {close[0]}?" if close else "remove it, or correct its name"
            findings.fault("settings", f"{key}: no such setting, verl would never read it; {hint}")


@functools.cache
def _verls_own(folder: Path, name: str) -> DictConfig:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(folder), version_base=None):
        return compose(name)


def _unknown(node: DictConfig, base: DictConfig, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """(dotted key, the names it could have had) of what stands in ``node`` and not in verl's ``base``."""
    fields = _fields(base)
    for key in node:
        name = f"{prefix}{key}"
        child, counterpart = node._get_node(key), base._get_node(key, validate_access=False)
        if counterpart is None:
            # An empty mapping of verl's passes on whatever it is given, as does ray.init.
            if key not in fields and len(base) and name.rpartition(".")[0] != "ray_kwargs.ray_init":
                yield name, [*map(str, base), *fields]
        elif isinstance(child, DictConfig) and isinstance(counterpart, DictConfig):
            special = (child, counterpart)
            if not any(part._is_none() or part._is_interpolation() or part._is_missing() for part in special):
                yield from _unknown(child, counterpart, f"{name}.")


def _fields(base: DictConfig) -> set[str]:
    """The fields of the dataclass that verl makes of a node, and of ray.init; its YAML files leave some out."""
    target = base.get("_target_") if "_target_" in base else None
    if not target:
        return set()
    from hydra.utils import get_object

    made = get_object(target)
    if dataclasses.is_dataclass(made):
        return {field.name for field in dataclasses.fields(made)}
    return set(inspect.signature(made).parameters)


def _is_read(verl: Path, name: str) -> bool:
    """Whether a name occurs in verl's sources at all."""
    word = re.compile(rf"\b{re.escape(name)}\b")
    return any(word.search(path.read_text(errors="replace")) for path in verl.rglob("*.py"))


def _has_vllm() -> bool:
    """Whether a vLLM is installed that verl recognises: the CPU build has another name."""
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
