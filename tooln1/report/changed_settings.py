"""The settings of a run that differ from the recipe that it started from."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tooln1.config import compose, recipes
from tooln1.run_folder import Run

# Paths and names say nothing about how a run was set up, so they come last.
_PLACES = re.compile(r"(_files|_dir|\.path|_name|_config_path)$")

Change = tuple[str, str, str]  # key, default, value


def find_changed_settings(files: Run, record: dict[str, Any]) -> tuple[list[Change], str]:
    """Return the settings that differ from the recipe, and the recipe's name.

    For an unknown configuration the settings are the overrides that Hydra noted.
    """
    if not files.config:
        return [], ""
    name = _config_name(files, record)
    if name not in recipes():
        overrides = _load_yaml(files.hydra / "overrides.yaml") if files.hydra else None
        texts = map(str, overrides) if isinstance(overrides, list) else ()
        changes = [(key, "–", value) for key, _, value in (text.partition("=") for text in texts)]
        return changes, "Hydra's defaults" if changes else ""
    as_written, resolved = _defaults(name)
    # A value that follows from another setting by interpolation is not a change.
    pair = (as_written, files.as_written) if files.as_written else (resolved, files.config)
    before, after = (dict(_leaves(config)) for config in pair)
    keys = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    keys.sort(key=lambda key: bool(_PLACES.search(key)))
    return [(key, plain(before.get(key)), plain(after.get(key))) for key in keys], name


def plain(value: Any) -> str:
    """Write a setting's value as text."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


@cache
def _defaults(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a recipe's configuration with its interpolations, and with their values."""
    config = compose(name)
    as_written = OmegaConf.to_container(config, resolve=False)
    try:
        return as_written, OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException:  # an interpolation of a value that the user must set
        return as_written, as_written


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _config_name(files: Run, record: dict[str, Any]) -> str:
    """Return the name of the configuration that the run started from, as Hydra or run.json noted it."""
    hydra = _load_yaml(files.hydra / "hydra.yaml") if files.hydra else None
    try:
        return str(hydra["hydra"]["job"]["config_name"])
    except (TypeError, KeyError):
        made_of = record.get("made_of")
        return str(made_of.get("config", "")) if isinstance(made_of, dict) else ""


def _load_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, yaml.YAMLError, RecursionError):
        return None
