"""The configuration of a run: composed by Hydra over verl's YAML files, and checked by verl's own code.

    config = compose("tool_n1_grpo", ["data.train_files=train.parquet", …])
    validate(config)

`compose` imports neither verl nor torch; `validate` imports both.
"""

import contextlib
import difflib
import io
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tooln1.errors import UserError

# The checkout's recipe, or the copy that setup.py puts into the package.
_CHECKOUT = Path(__file__).resolve().parents[1] / "recipe" / "tool_n1" / "config"
CONFIGS = _CHECKOUT if _CHECKOUT.is_dir() else Path(__file__).with_name("recipe_config")
# By path: asking Hydra for the package would import it, and torch.
VERL_CONFIGS = Path(next(iter(find_spec("verl").submodule_search_locations))) / "trainer" / "config"

_PPO_INPUTS = ("actor_rollout_ref.model.path", "data.train_files", "data.val_files")
_SFT_INPUTS = ("data.train_files", "model.path")

# verl builds these dataclasses in its workers, minutes after the start. Its own validation builds the actor's.
_PPO_PARTS = ("actor_rollout_ref.model", "actor_rollout_ref.ref.fsdp_config", "actor_rollout_ref.rollout", "algorithm")
_SFT_PARTS = ("model", "engine", "optim", "checkpoint", "profiler")


def compose(config: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a configuration of the recipe, or a YAML file given by its path, with overrides in Hydra's grammar.

    Raises:
        UserError: an unknown configuration or key, or what Hydra or OmegaConf refuses, on one line.
    """
    from hydra.errors import HydraException, OverrideParseException

    folder, name = locate(config)
    try:
        return _compose(folder, name, overrides)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        # Hydra's message on a text that is no override shows only the character where parsing ended.
        override = f"{error.override}: " if isinstance(error, OverrideParseException) else ""
        raise UserError(f"settings: {override}{error}{_similar_key(str(error), folder, name)}") from None


def _compose(folder: Path, name: str, overrides: Sequence[str]) -> DictConfig:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(folder), version_base=None):
        return hydra_compose(name, [search_path(), *overrides])


def locate(config: str) -> tuple[Path, str]:
    """Return the folder and the name, as verl's --config-path and --config-name take them. Raises UserError."""
    path = Path(config)
    if path.suffix == ".yaml":
        if not path.is_file():
            raise UserError(f"{config}: no such file; expected a YAML file or one of: {', '.join(recipes())}")
        return path.resolve().parent, path.stem
    if config not in recipes():
        close = difflib.get_close_matches(config, recipes(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        names = ", ".join(recipes())
        raise UserError(f"{config}: no such configuration; {hint}expected a YAML file or one of: {names}")
    return CONFIGS, config


def recipes() -> list[str]:
    """Return the names of the recipe's configurations."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def search_path() -> str:
    """Return the override that lets any configuration file use verl's files and the recipe's groups."""
    places = ",".join(quote(f"file://{folder}") for folder in (VERL_CONFIGS, CONFIGS))
    return f"hydra.searchpath=[{places}]"


def quote(value: object) -> str:
    """Quote any value such that Hydra's grammar and OmegaConf's interpolation read it back unchanged."""
    # A backslash is an escape only before a quote or an interpolation; elsewhere, two would be read as two.
    literal = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", str(value))
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), literal) + "'"


def is_sft(config: DictConfig) -> bool:
    """Return whether the configuration is for verl's SFT trainer instead of its PPO trainer."""
    return "actor_rollout_ref" not in config


def missing_keys(config: DictConfig) -> list[str]:
    """Return which of the user's inputs, files and model, are not set, as dotted keys."""
    with checking("the settings"):
        return [key for key in (_SFT_INPUTS if is_sft(config) else _PPO_INPUTS) if not OmegaConf.select(config, key)]


def require_inputs(config: DictConfig) -> None:
    """Raise UserError if one of the user's inputs is not set."""
    missing = missing_keys(config)
    if missing:
        raise UserError(f"{', '.join(missing)}: missing; set --model, --train-file and --val-file, or {missing[0]}=…")


def validate(config: DictConfig) -> None:
    """Let verl check a whole configuration: its own validation, and a dataclass of each part.

    The model's files are not read.

    Raises:
        UserError: the first part that verl refuses, with verl's reason, on one line.
    """
    require_inputs(config)
    config = config.copy()
    with checking("the settings"):
        OmegaConf.resolve(config)
        if not is_sft(config):
            _validate_ppo(config)
    for name in _SFT_PARTS if is_sft(config) else _PPO_PARTS:
        part = OmegaConf.select(config, name)
        # Another engine of verl's than FSDP has no fsdp_config.
        if part is not None:
            with checking(name):
                _build(part)


def _validate_ppo(config: DictConfig) -> None:
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    # verl's check of a LoRA rank needs the GPU build of vLLM, and skips merged adapters.
    config.actor_rollout_ref.model.lora.merge = True
    # verl prints and warns about its own defaults.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        validate_config(config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))


def _build(part: DictConfig) -> Any:
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.config import HFModelConfig

    if part._target_.endswith(f".{HFModelConfig.__name__}"):
        # Building it would read the model's files; the merge checks keys and types.
        return OmegaConf.merge(OmegaConf.structured(HFModelConfig), part)
    return omega_conf_to_dataclass(part)


@contextlib.contextmanager
def checking(part: str) -> Iterator[None]:
    """Turn an error of verl, Hydra or OmegaConf about a part of the settings into a UserError."""
    try:
        yield
    except Exception as error:  # verl raises AssertionError, ValueError and TypeError; Hydra and OmegaConf, their own
        cause = error.__cause__ or error
        text = str(cause) or type(cause).__name__
        raise UserError(f"settings: verl refuses {part}: {text}") from None


def _similar_key(message: str, folder: Path, name: str) -> str:
    """Return a hint if Hydra's message is about an unknown key and a known key is similar."""
    unknown = re.search(r"Could not override '([^']+)'", message)
    if not unknown:
        return ""
    known = dotted_keys(OmegaConf.to_container(_compose(folder, name, ())))
    close = difflib.get_close_matches(unknown[1], list(known), n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else ""


def dotted_keys(node: dict[str, Any], name: str = "") -> Iterator[str]:
    """Yield all keys of nested mappings, those of the mappings included."""
    for key, child in node.items():
        dotted = f"{name}.{key}" if name else str(key)
        yield dotted
        if isinstance(child, dict):
            yield from dotted_keys(child, dotted)


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of everything in nested mappings that is no mapping; an empty one is a value."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def plain(value: Any) -> str:
    """Write a setting's value as text."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
