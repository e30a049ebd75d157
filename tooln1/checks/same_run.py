"""Whether the settings are those of the run that a folder holds.

A run folder knows the settings of its last attempt (config.yaml) and the content of the files that they name
(``contents`` of run.json). A run continues under other settings only if the user accepts that; run.json notes it.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tooln1.checks.findings import Finding, fault, warning
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.config import checking, leaves, plain
from tooln1.errors import UserError
from tooln1.files import one_line, shorten
from tooln1.run_folder import tracked_step
from tooln1.settings import Settings, absolute_paths

# What may change while a run continues: how long it is, what it saves and logs, resources that change its result by
# rounding only, and what the model's chat template decides. Every other setting defines the run, also one that is not
# known here. The rollout engine does: engines sample differently. So do verl's fused kernels, which have been wrong.
_FREE = re.compile(
    r"""
    trainer\.( total_epochs | total_training_steps | save_freq | test_freq | val_before_train | val_only | logger
      | max_\w*ckpt_to_keep | del_local_ckpt_after_load | resume_mode | resume_from_path | log_val_generations
      | project_name | experiment_name | \w+_dir | profile_interval | ray_wait_register_center_timeout )
    | (.*\.)?( nnodes | n_gpus_per_node | checkpoint\.( save_contents | async_save ) | (global_)?profiler\..* | use_shm
      | (\w+_)?( micro_batch_size(_per_gpu)? | max_token_len_per_gpu | use_dynamic_bsz ) | tiled_mlp\..*
      | param_offload | optimizer_offload | offload_policy | reshard_after_forward | forward_prefetch
      | ulysses_sequence_parallel_size | use_torch_compile | enable_gradient_checkpointing
      | enable_activation_offload | entropy_from_logits_\w+ | entropy_checkpointing | nccl_timeout )
    | (.*\.)?rollout\.( gpu_memory_utilization | \w+_parallel_size | max_model_len | max_num_\w+ | enforce_eager
      | cudagraph_capture_sizes | free_cache_engine | enable_( sleep_mode | chunked_prefill | prefix_caching )
      | layered_summon | multi_stage_wake_up | disable_log_stats | scheduling_policy | agent\.num_workers
      | ( checkpoint_engine | prometheus | trace )\..* )
    | reward\.custom_reward_function\.reward_kwargs\.prompt_opens_think
    | data\.( val_batch_size | filter_overlong_prompts_workers ) | reward\.num_workers
    | ( ray_kwargs | transfer_queue )\..*
    """,
    re.VERBOSE,
)
# What a checkpoint brings back with the optimizer (verl/utils/checkpoint/fsdp_checkpoint_manager.py).
_RESTORED = re.compile(r"(.*\.)?optim\.(lr|weight_decay|betas)")
# What tells most comes first.
_FIRST = re.compile(r"reward\.|data\.|(.*\.)?model\.path")
_MOST, _LONGEST = 15, 120


class Change(NamedTuple):
    """A setting that defines the run, or a file that the run reads, before and now."""

    key: str
    old: Any
    new: Any


def check_same_run(run: UpcomingRun) -> Iterator[Finding]:
    """A run folder that holds a run of other settings."""
    changes = find_changes(run.settings)
    if not changes:
        return
    told = [f"{key} {shorten(plain(old), _LONGEST)} -> {shorten(plain(new), _LONGEST)}" for key, old, new in changes]
    named = ", ".join([*told[:_MOST], *([f"{len(told) - _MOST} more"] if len(told) > _MOST else [])])
    if run.settings.accept_changes:
        yield warning(f"{run.settings.folder.path}: the run continues with changes: {named}")
        yield from _without_effect(run, changes)
        return
    yield fault(
        f"{run.settings.folder.path}: holds a run of other settings: {named}; choose another run folder (--run-dir, or "
        "RUN_DIR= for a script), or continue with --accept-changes (ACCEPT_CHANGES=1), which marks the step in record "
        "and report; length, saving, validation frequency, logging and resources may change freely"
    )


def _without_effect(run: UpcomingRun, changes: Sequence[Change]) -> Iterator[Finding]:
    restored = [change.key for change in changes if _RESTORED.fullmatch(change.key)]
    loaded = {"optimizer", "extra"} & set(run.checkpoint.get("load_contents") or ())
    if restored and loaded and tracked_step(run.settings.checkpoints) is not None:
        key = f"{'' if run.is_sft else 'actor_rollout_ref.actor.'}checkpoint.load_contents"
        yield fault(
            f"{', '.join(restored)}: the checkpoint brings the old value back with the optimizer's state; add "
            f"{key}=[model] to start the optimizer again, or start another run from the exported model"
        )


def find_changes(settings: Settings) -> list[Change]:
    """Return what differs from the folder's run in its defining settings and in the content of its files.

    A folder whose run has no results yet belongs to no run.

    Raises:
        UserError: the folder's config.yaml cannot be read, or is that of the other kind of training.
    """
    folder = settings.folder
    measured = folder.metrics.exists() and folder.metrics.stat().st_size
    if not folder.config.exists() or not (measured or tracked_step(settings.checkpoints) is not None):
        return []
    try:
        record = OmegaConf.to_container(OmegaConf.load(folder.config))
        was_sft = "actor_rollout_ref" not in record
    except (OSError, ValueError, TypeError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{folder.config}: cannot be read ({one_line(error)}); choose another run folder") from None
    if was_sft != settings.is_sft:
        kinds = ("GRPO", "SFT")
        raise UserError(
            f"{folder.path}: holds a run of {kinds[was_sft]}, and this one is {kinds[not was_sft]}; choose another run "
            "folder (--run-dir; RUN_DIR= for a script)"
        )
    old, new = _defining(record), _defining(_current(settings))
    contents, now = folder.read_record().get("contents", {}), read_contents(settings)
    pairs = [(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())]
    pairs += [(f"content of {path}", contents[path], now[path]) for path in sorted(contents.keys() & now.keys())]
    changes = [Change(*pair) for pair in pairs if pair[1] != pair[2]]
    return sorted(changes, key=lambda change: not _FIRST.match(change.key))


def read_contents(settings: Settings) -> dict[str, str]:
    """Return a digest of each file that a defining setting names: the rows, and the code of the user's reward.

    Raises:
        UserError: a file cannot be read.
    """
    values = _defining(_current(settings)).values()
    names = (name for value in values for name in (value if isinstance(value, list) else [value]))
    paths = (name for name in names if isinstance(name, str) and os.path.isabs(name) and os.path.isfile(name))
    return {path: _digest(path) for path in paths}


def _current(settings: Settings) -> dict[str, Any]:
    with checking("the settings"):
        return OmegaConf.to_container(settings.composed, resolve=True)


def _defining(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that define a run, by dotted key, without those that have no value; links are followed."""
    found = {key: value for key, value in leaves(config) if value not in (None, {}) and not _FREE.fullmatch(key)}
    return {key: absolute_paths(key, value, os.path.realpath) for key, value in found.items()}


def _digest(path: str) -> str:
    content = hashlib.blake2b(digest_size=6)
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                content.update(block)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return content.hexdigest()
