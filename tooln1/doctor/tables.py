"""The estimates as tables: what a step is, what it takes on the disk, and memory by phase and part."""

from tooln1.doctor.checkpoints import checkpoint_bytes, kept_checkpoints
from tooln1.doctor.examine import Examination
from tooln1.doctor.memory import GIB, Phase
from tooln1.files import format_table


def tables(examination: Examination) -> list[str]:
    """Every table that the examination has the numbers for."""
    parts = [_facts(examination)] if examination.plan else []
    if examination.phases:
        parts.append(_memory(examination.phases))
    return parts


def _facts(examination: Examination) -> str:
    plan, shape = examination.plan, examination.shape
    rows = [
        ["prompts a step", f"{plan.prompts:,}"],
        ["sequences a step", f"{plan.prompts * plan.replies:,}"],
        ["updates a step", f"{-(-plan.prompts // plan.mini_batch):,}"],
        ["sequences a rank", f"{plan.prompts * plan.replies / plan.ranks:,.0f}"],
        ["steps an epoch", _number(examination.steps_per_epoch)],
        ["steps in total", _number(examination.steps)],
    ]
    if shape:
        count = kept_checkpoints(plan, examination.steps)
        rows.append(["parameters", f"{shape.parameters:,}"])
        rows.append(["a checkpoint", f"{checkpoint_bytes(shape, plan) / GIB:.1f} GiB"])
        rows.append(["checkpoints kept", "all" if count is None else f"{count:,}"])
    if examination.cache_tokens is not None:
        rows.append(["KV cache of a replica", f"{max(examination.cache_tokens, 0):,} tokens"])
        rows.append(["whole sequences in it", f"{max(examination.cache_tokens, 0) // plan.length:,}"])
    return format_table(["a run", ""], rows)


def _number(value: int | None) -> str:
    return "unknown: no data" if value is None else f"{value:,}"


def _memory(phases: list[Phase]) -> str:
    names = list(dict.fromkeys(part.name for phase in phases for part in phase.parts))
    rows = [[name, *(_part(phase, name) for phase in phases)] for name in names]
    rows.append(["total", *(f"{phase.bytes / GIB:.1f}" for phase in phases)])
    return format_table(["GiB", *(phase.name for phase in phases)], rows)


def _part(phase: Phase, name: str) -> str:
    found = [part.bytes for part in phase.parts if part.name == name]
    return f"{sum(found) / GIB:.1f}" if found else ""
