"""The examination of a run before it starts: every check in order, all faults at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tooln1.config import compose, is_sft, missing_keys
from tooln1.doctor.checkpoints import check_checkpoints, check_resume
from tooln1.doctor.data import DataFacts, check_conversations, check_data, data_paths
from tooln1.doctor.environment import (
    check_attention,
    check_gpus,
    check_loggers,
    check_network,
    check_ray,
    check_shared,
)
from tooln1.doctor.findings import Findings
from tooln1.doctor.fit import check_fit
from tooln1.doctor.machine import Machine
from tooln1.doctor.memory import Phase, cache_tokens, trained_parameters
from tooln1.doctor.plan import Plan, make_plan
from tooln1.doctor.reward import check_reward
from tooln1.doctor.rules import check_heads, check_rules
from tooln1.doctor.settings import check_keys, check_missing, check_with_verl, is_set, with_stand_in
from tooln1.doctor.shape import ModelShape, read_shape
from tooln1.doctor.versions import check_versions
from tooln1.errors import UserError
from tooln1.preflight import check_model, hub_is_offline, model_config


@dataclass
class Examination:
    """What was found, and the numbers for the tables; None where a fault was in the way."""

    findings: Findings
    plan: Plan | None = None
    shape: ModelShape | None = None
    data: DataFacts = field(default_factory=DataFacts)
    phases: list[Phase] = field(default_factory=list)
    cache_tokens: int | None = None  # of the KV cache of one replica

    @property
    def steps_per_epoch(self) -> int | None:
        return self.data.rows // self.plan.prompts if self.plan and self.data.rows else None

    @property
    def steps(self) -> int | None:
        if self.plan is None:
            return None
        epoch = self.steps_per_epoch
        return self.plan.steps or (epoch * self.plan.epochs if epoch else None)


def examine(recipe: str, overrides: Sequence[str], machine: Machine) -> Examination:
    """Examine a run of ``recipe`` with ``overrides`` on ``machine``; faults are findings and never raised."""
    findings = Findings(planning=machine.planned)
    examination = Examination(findings)
    try:
        config = compose(recipe, overrides)
    except UserError as error:
        findings.fault("settings", str(error))
        return examination
    config = check_missing(findings, config, missing_keys(config))
    check_keys(findings, config)
    try:
        examination.plan = plan = make_plan(config)
    except UserError as error:
        findings.fault("settings", str(error))
        return examination
    check_rules(findings, config, plan)
    name = "model.path" if is_sft(config) else "actor_rollout_ref.model.path"
    model = OmegaConf.select(config, name) if is_set(config, name) else None
    usable = model is not None and _check_model(findings, model, plan)
    if model is not None:
        examination.shape = _read_shape(findings, model, plan, usable)
    check_with_verl(findings, config if usable else with_stand_in(config, name))
    check_versions(findings, _extra(plan))
    _check_files(examination, config, model if usable else None)
    _check_surroundings(findings, config, plan, machine)
    folder = Path(config.trainer.default_local_dir)
    check_resume(findings, folder, plan)
    if examination.shape is not None:
        check_checkpoints(findings, str(folder), examination.shape, plan, examination.steps)
        _check_memory(examination, machine)
    return examination


def _check_memory(examination: Examination, machine: Machine) -> None:
    plan, shape = examination.plan, examination.shape
    examination.phases = check_fit(
        examination.findings,
        shape,
        plan,
        machine,
        mean_prompt=examination.data.mean_prompt,
        flash_attention=machine.planned or find_spec("flash_attn") is not None,
    )
    if plan.rollout and (machine.gpus or plan.rollout.kv_bytes):
        size = min((gpu.memory for gpu in machine.gpus), default=0)
        examination.cache_tokens = cache_tokens(shape, plan.rollout, size)


def _extra(plan: Plan) -> str:
    """setup.py's extra for the run."""
    if plan.on_cpu:
        return "cpu"
    return plan.rollout.engine if plan.rollout and plan.rollout.engine in ("vllm", "sglang") else "vllm"


def _check_model(findings: Findings, model: str, plan: Plan) -> bool:
    """Report on the model's folder or name; whether all is there that a run reads."""
    try:
        note = check_model(model, plan.length, offline=hub_is_offline())
    except UserError as error:
        findings.fault("model", str(error), here=True)
        return False
    if note:
        findings.warn("model", note)
    return True


def _read_shape(findings: Findings, model: str, plan: Plan, usable: bool) -> ModelShape | None:
    """The model's shape, with a report on what the plan makes of it; None if it cannot be told."""
    if not usable and not Path(model).is_dir():  # asking the hub once more would only take time
        return None
    before = len(findings.items)
    try:
        shape = read_shape(model_config(model, offline=hub_is_offline()), str(model))
    except UserError as error:
        if usable:
            findings.warn("model", str(error))
        return None
    check_heads(findings, shape, plan)
    try:
        trained_parameters(shape, plan)
    except UserError as error:
        findings.fault("settings", str(error))
        return None
    if usable and len(findings.items) == before:
        findings.ok("model", f"{model}: {shape.parameters / 1e9:.3g} billion parameters, complete")
    return shape


def _check_files(examination: Examination, config: DictConfig, model: str | None) -> None:
    findings = examination.findings
    if is_sft(config):
        if is_set(config, "data.train_files"):
            examination.data = check_conversations(findings, config)
        return
    if is_set(config, "data.train_files") and is_set(config, "data.val_files"):
        examination.data = check_data(findings, config, model=model)
    paths = data_paths(config, "data.train_files") if examination.data.rows else []
    check_reward(findings, config, paths)


def _check_surroundings(findings: Findings, config: DictConfig, plan: Plan, machine: Machine) -> None:
    if not plan.on_cpu:
        check_gpus(findings, plan, machine)
        check_attention(findings, config)
        check_network(findings, plan, machine)
    check_shared(findings, config, plan)
    if plan.rollout:
        check_ray(findings, config, plan)
    check_loggers(findings, config)
