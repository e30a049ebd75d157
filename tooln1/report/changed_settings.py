"""The settings of a run that differ from the recipe that it started from."""

import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from tooln1.config import compose, leaves, plain, recipes
from tooln1.run_folder import Run

# Paths and names say nothing about how a run was set up, so they come last.
_PLACES = re.compile(r"(_files|_dir|\.path|_name|_config_path)$")

Change = tuple[str, str, str]  # key, default, value


def find_changed_settings(files: Run) -> tuple[list[Change], str]:
    """Return the settings that differ from the recipe, and the recipe's name, by Hydra's record of the run.

    For an unknown configuration the settings are the overrides that Hydra noted.
    """
    if files.hydra is None:
        return [], ""
    name = _config_name(files.hydra)
    if name not in recipes():
        overrides = _load_yaml(files.hydra / "overrides.yaml")
        texts = map(str, overrides) if isinstance(overrides, list) else ()
        changes = [(key, "–", value) for key, _, value in (text.partition("=") for text in texts)]
        return changes, "Hydra's defaults" if changes else ""
    # Both have their interpolations: a value that follows from another setting is not a change.
    configs = compose(name), OmegaConf.load(files.hydra / "config.yaml")
    before, after = (dict(leaves(OmegaConf.to_container(config, resolve=False))) for config in configs)
    keys = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    keys.sort(key=lambda key: bool(_PLACES.search(key)))
    return [(key, plain(before.get(key)), plain(after.get(key))) for key in keys], name


def _config_name(hydra: Path) -> str:
    """Return the name of the configuration that the run started from."""
    try:
        return str(_load_yaml(hydra / "hydra.yaml")["hydra"]["job"]["config_name"])
    except (TypeError, KeyError):
        return ""


def _load_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, yaml.YAMLError, RecursionError):
        return None
