"""The settings of a run that are not the defaults of the recipe that it started from."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tooln1.config import compose, recipes
from tooln1.errors import UserError
from tooln1.run_folder import Run

# Where a run is, and what it is called, tells nothing about what it was set to.
_PLACES = re.compile(r"(_files|_dir|\.path|_name|_config_path)$")


def find_differences(files: Run, info: dict[str, Any]) -> tuple[list[tuple[str, str, str]], str]:
    """(key, default, value) of the settings that are not the recipe's, and the recipe's name; else what Hydra noted."""
    if not files.config:
        return [], ""
    name = _config_name(files, info)
    try:
        as_written, resolved = _defaults(name)
    except UserError:  # a configuration of the user's own
        overrides = _hydra_overrides(files)
        return [(key, "–", value) for key, value in overrides], "Hydra's defaults" if overrides else ""
    if files.as_written:  # what follows from another setting is no difference of its own
        return _compare(as_written, files.as_written), name
    return _compare(resolved, files.config), name


@cache
def _defaults(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A recipe's configuration with its interpolations, and with their values. Raises UserError for an unknown name."""
    if name not in recipes():
        raise UserError(f"{name}: no such configuration")
    config = compose(name)
    as_written = OmegaConf.to_container(config, resolve=False)
    try:
        return as_written, OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException:  # an interpolation that leads to a value left to the user
        return as_written, as_written


def _compare(defaults: dict[str, Any], config: dict[str, Any]) -> list[tuple[str, str, str]]:
    before, after = dict(_leaves(defaults)), dict(_leaves(config))
    changed = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    # Settings first, then places.
    changed.sort(key=lambda key: bool(_PLACES.search(key)))
    return [(key, plain(before.get(key)), plain(after.get(key))) for key in changed]


def _leaves(value: Any, key: str = ""):
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _config_name(files: Run, info: dict[str, Any]) -> str:
    """The recipe's configuration that the run started from, as Hydra or run.json noted it."""
    hydra = _load_yaml(files.hydra / "hydra.yaml") if files.hydra else None
    made_of = info.get("made_of")
    try:
        return str(hydra["hydra"]["job"]["config_name"])
    except (TypeError, KeyError):
        return str(made_of.get("config", "")) if isinstance(made_of, dict) else ""


def _hydra_overrides(files: Run) -> list[tuple[str, str]]:
    overrides = _load_yaml(files.hydra / "overrides.yaml") if files.hydra else None
    texts = [str(one) for one in overrides or []] if isinstance(overrides, list) else []
    return [(key, value) for key, _, value in (text.partition("=") for text in texts)]


def _load_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, yaml.YAMLError, RecursionError):
        return None


def plain(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
