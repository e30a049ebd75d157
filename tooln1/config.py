"""The configuration of a run: composed by Hydra over verl's own files, and checked the way verl checks it.

    config = compose("tool_n1_grpo", ["data.train_files=train.parquet", …])
    validate(config)

`compose` imports neither verl nor torch; `validate` imports both.
"""

import contextlib
import difflib
import functools
import importlib.metadata
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from tooln1.errors import UserError

# The checkout's recipe, or the copy that setup.py puts into the package.
_CHECKOUT = Path(__file__).resolve().parents[1] / "recipe" / "tool_n1" / "config"
CONFIGS = _CHECKOUT if _CHECKOUT.is_dir() else Path(__file__).with_name("recipe_config")
# By path: asking Hydra for the package would import it, and torch.
VERL_CONFIGS = Path(next(iter(find_spec("verl").submodule_search_locations))) / "trainer" / "config"

_PPO_INPUTS = ("data.train_files", "data.val_files", "actor_rollout_ref.model.path")

# What verl builds of its own accord. The rest it reads key by key, and some of that, such as the reward's settings and
# those of profilers that a run does not use, has dataclasses in verl 0.9.1 that do not fit.
_PPO_PARTS = (
    *(f"actor_rollout_ref.{part}" for part in ("actor", "ref", "rollout", "model")),
    *("algorithm", "critic", "distillation", "skip"),
)
_SFT_PARTS = ("model", "engine", "optim", "checkpoint", "profiler")

# verl reads the reference's batch sizes as an actor's, under these names (verl/workers/engine_workers.py, init_model).
_REFERENCE_NAMES = {
    "log_prob_micro_batch_size": "ppo_micro_batch_size",
    "log_prob_micro_batch_size_per_gpu": "ppo_micro_batch_size_per_gpu",
    "log_prob_use_dynamic_bsz": "use_dynamic_bsz",
    "log_prob_max_token_len_per_gpu": "ppo_max_token_len_per_gpu",
}


def compose(config: str, overrides: Sequence[str] = ()) -> DictConfig:
    """A configuration of the recipe by its name, or a YAML file by its path, with ``overrides`` in Hydra's grammar.

    Raises:
        UserError: an unknown configuration or key, or an override that Hydra or OmegaConf refuses, on one line.
    """
    from hydra.errors import HydraException, OverrideParseException

    folder, name = locate(config)
    try:
        return _compose(folder, name, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        # Of a text that is no override at all Hydra's message shows only the character where reading ended.
        named = f"{error.override}: " if isinstance(error, OverrideParseException) else ""
        raise UserError(f"settings: {named}{error}{_similar_key(str(error), folder, name)}") from None


def _compose(folder: Path, name: str, overrides: Sequence[str]) -> DictConfig:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(folder), version_base=None):
        return hydra_compose(name, [search_path(), *overrides])


def locate(config: str) -> tuple[Path, str]:
    """The folder and the name, as verl's --config-path and --config-name take them. Raises UserError."""
    path = Path(config)
    if path.suffix in (".yaml", ".yml"):
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
    """The names of the recipe's configurations."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def search_path() -> str:
    """The override that lets any configuration file use verl's files and the recipe's groups."""
    places = ",".join(quote(f"file://{folder}") for folder in (VERL_CONFIGS, CONFIGS))
    return f"hydra.searchpath=[{places}]"


def quote(value: object) -> str:
    """``value`` as Hydra's grammar and OmegaConf's interpolation read it back, whatever it holds."""
    # A backslash is an escape only in front of a quote or an interpolation; anywhere else two would be read as two.
    literal = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", str(value))
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), literal) + "'"


def is_sft(config: DictConfig) -> bool:
    """Whether verl's SFT trainer reads the configuration, and not its PPO trainer."""
    return "actor_rollout_ref" not in config


def missing_keys(config: DictConfig) -> list[str]:
    """What the configuration leaves to the user in the parts that the run uses, as dotted keys.

    Those are what is ``???``, and files and models that are still verl's examples: a ``???`` of the recipe's does not
    replace them, since OmegaConf merges it as "no opinion".
    """
    unused = tuple(f"{name}." for name in _unused(config))
    with _checking("the settings"):
        missing = {key for key in OmegaConf.missing_keys(config) if not key.startswith(unused)}
        for key, example in _examples(is_sft(config)).items():
            if OmegaConf.select(config, key) == example:
                missing.add(key)
    return sorted(missing)


@functools.cache
def _examples(sft: bool) -> dict[str, Any]:
    """What verl's own configuration says where a user's files and model belong."""
    keys = ("data.train_files", "model.path") if sft else _PPO_INPUTS
    config = _compose(VERL_CONFIGS, "sft_trainer_engine" if sft else "ppo_trainer", ())
    return {key: OmegaConf.select(config, key) for key in keys}


def _unused(config: DictConfig) -> list[str]:
    """The parts of verl's PPO configuration that the run leaves alone; they may be incomplete."""
    if is_sft(config):
        return []
    has_critic = config.critic.enable
    used = {
        # As verl decides it (verl/trainer/ppo/utils.py, need_critic), without importing torch.
        "critic": config.algorithm.adv_estimator == "gae" if has_critic is None else has_critic,
        "distillation": config.distillation.enabled,
        "reward.reward_model": config.reward.reward_model.enable,
    }
    return [name for name, is_used in used.items() if not is_used]


def validate(config: DictConfig) -> None:
    """Have verl check a whole configuration: its own validation, and a dataclass built of every part.

    A model that is not a folder here is checked for its settings only: building its part would load its files.

    Raises:
        UserError: the first part that verl refuses, with its reason, on one line.
    """
    missing = missing_keys(config)
    if missing:
        raise UserError(f"settings: {', '.join(missing)}: missing; expected a value, as in {missing[0]}=…")
    config = config.copy()
    with _checking("the settings"):
        OmegaConf.resolve(config)
        if not is_sft(config):
            _validate_ppo(config)
    for name, part in _parts(config):
        with _checking(name):
            _build(part)


def _validate_ppo(config: DictConfig) -> None:
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    # verl asks the installed vLLM for the ranks that adapters may have; a plan is made where none is installed.
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        config = config.copy()
        config.actor_rollout_ref.model.lora.merge = True
    # Its notes are about verl's defaults, and its message that all is well about a part only.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        validate_config(config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))


@contextlib.contextmanager
def _checking(part: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # verl raises assertions, ValueError, TypeError and what Hydra and OmegaConf have
        cause = error.__cause__ or error
        text = str(cause) or type(cause).__name__
        raise UserError(f"settings: verl refuses {part}: {text}") from None


def _parts(config: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """What verl makes dataclasses of, with the dotted names, as verl hands it over."""
    if not is_sft(config):
        reference = config.actor_rollout_ref.ref
        with open_dict(reference):
            reference.ppo_mini_batch_size = config.actor_rollout_ref.actor.ppo_mini_batch_size
            for theirs, actors in _REFERENCE_NAMES.items():
                reference[actors] = reference.pop(theirs, None)
    unused = _unused(config)
    for name in _SFT_PARTS if is_sft(config) else _PPO_PARTS:
        if name not in unused:
            yield name, OmegaConf.select(config, name)


def _build(part: DictConfig) -> Any:
    from hydra.utils import get_class
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.config import HFModelConfig

    if get_class(part._target_) is HFModelConfig and not Path(part.path).expanduser().is_dir():
        return OmegaConf.merge(OmegaConf.structured(HFModelConfig), part)
    return omega_conf_to_dataclass(part)


def _similar_key(message: str, folder: Path, name: str) -> str:
    """The key that was meant, if Hydra's message is about an unknown one and a known one is close to it."""
    unknown = re.search(r"Could not override '([^']+)'", message)
    if not unknown:
        return ""
    close = difflib.get_close_matches(unknown[1], list(_keys(_compose(folder, name, ()))), n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else ""


def _keys(node: DictConfig, name: str = "") -> Iterator[str]:
    for key in node:
        dotted = f"{name}.{key}" if name else str(key)
        yield dotted
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not (child._is_none() or child._is_interpolation() or child._is_missing()):
            yield from _keys(child, dotted)
