"""Whether a run fits into the memory there is, and what to change if it does not."""

from tooln1.doctor.findings import Findings
from tooln1.doctor.host import cpu_run, gpu_node
from tooln1.doctor.machine import Machine
from tooln1.doctor.memory import GIB, USABLE, Phase, cache_tokens, estimate
from tooln1.doctor.plan import Plan
from tooln1.doctor.shape import ModelShape
from tooln1.preflight import check_memory


def check_fit(
    findings: Findings,
    shape: ModelShape,
    plan: Plan,
    machine: Machine,
    *,
    mean_prompt: float | None,
    flash_attention: bool,
) -> list[Phase]:
    """Report the phases that do not fit, with the part to make smaller; return the estimate."""
    if plan.on_cpu:
        phase = cpu_run(shape, plan, mean_prompt)
        before = len(findings.items)
        with findings.checking("memory", here=True):
            check_memory(round(phase.bytes / 1e9, 1))
        if len(findings.items) == before:
            findings.ok("memory", f"the run takes about {phase.bytes / 1e9:.1f} GB, which are there")
        return [phase]
    host = gpu_node(shape, plan)
    if machine.memory is not None and host.bytes > machine.memory:
        findings.warn(
            "memory",
            f"the node's own memory: about {host.bytes / GIB:.0f} GiB needed, {machine.memory / GIB:.0f} GiB there; "
            f"{_advice(host)}",
        )
    if not machine.gpus:
        return [host]
    size = min(gpu.memory for gpu in machine.gpus)
    phases = estimate(shape, plan, size, flash_attention=flash_attention)
    before = len(findings.items)
    for phase in phases:
        _check_phase(findings, phase, size)
    if plan.rollout:
        _check_cache(findings, shape, plan, size)
    if len(findings.items) == before:
        most = max(phases, key=lambda phase: phase.bytes)
        findings.ok("memory", f"every phase fits; the largest, {most.name}, takes {most.bytes / GIB:.0f} GiB")
    return [*phases, host]


def _check_phase(findings: Findings, phase: Phase, size: int) -> None:
    needed = f"{phase.name}: about {phase.bytes / GIB:.1f} GiB needed on a GPU of {size / GIB:.1f} GiB"
    if phase.bytes > size:
        findings.fault("memory", f"{needed}; {_advice(phase)}")
    elif phase.bytes > USABLE * size:
        findings.warn("memory", f"{needed}, which fragmentation may exceed; {_advice(phase)}")


def _advice(phase: Phase) -> str:
    part = phase.largest
    return f"its largest part is {part.name} with {part.bytes / GIB:.1f} GiB: {part.remedy}"


def _check_cache(findings: Findings, shape: ModelShape, plan: Plan, size: int) -> None:
    tokens = cache_tokens(shape, plan.rollout, size)
    longest = plan.rollout.max_model_len or shape.positions
    if tokens < min(longest, plan.length):
        findings.fault(
            "memory",
            f"KV cache: {max(tokens, 0)} tokens are left beside the engine's weights, fewer than the {plan.length} of "
            f"one sequence; raise rollout.gpu_memory_utilization or rollout.tensor_model_parallel_size",
        )
    elif tokens < longest:  # vLLM refuses to start then
        findings.fault(
            "memory",
            f"KV cache: {tokens} tokens, fewer than rollout.max_model_len ({longest}), for which the engine must have "
            f"room; set actor_rollout_ref.rollout.max_model_len={plan.length}",
        )
