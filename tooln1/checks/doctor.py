"""`tooln1 doctor`: run every check and print the findings, and the estimates as tables."""

from tooln1.checks.capacity import checkpoint_bytes, kept_checkpoints
from tooln1.checks.checklist import examine
from tooln1.checks.findings import FAULT, WARNING
from tooln1.checks.memory_estimate import GIB, Parts
from tooln1.checks.upcoming_run import Gpu, UpcomingRun
from tooln1.errors import EXIT_USER_ERROR, UserError
from tooln1.files import format_table
from tooln1.settings import Settings

_DEFAULT_GPUS, _DEFAULT_MEMORY = 8, 80.0


def doctor(settings: Settings, *, gpus: int | None = None, gpu_memory: float | None = None) -> int:
    """Check a run, print the findings and the estimates, and return the exit code: 2 for a fault, else 0.

    Args:
        gpus: of a node of another machine, for which the run is planned; with ``gpu_memory`` None too, this machine is
            examined.
        gpu_memory: of each of them, in GiB.
    """
    planned = None
    if gpus is not None or gpu_memory is not None:
        count = _DEFAULT_GPUS if gpus is None else gpus
        planned = planned_gpus(count, _DEFAULT_MEMORY if gpu_memory is None else gpu_memory)
    findings, run = examine(settings, planned)
    for finding in findings:
        print(finding)
    if run:
        print(f"\n{_facts(run)}")
        if run.phases:
            print(f"\n{_memory(run.phases)}")
    severities = [finding.severity for finding in findings]
    print(f"\n{_count(severities.count(FAULT), 'fault')}, {_count(severities.count(WARNING), 'warning')}")
    return EXIT_USER_ERROR if FAULT in severities else 0


def planned_gpus(count: int, memory: float) -> tuple[Gpu, ...]:
    """GPUs that are not at hand, of ``memory`` GiB each. Raises UserError."""
    if count < 1 or memory <= 0:
        raise UserError(f"--gpus {count} --gpu-memory {memory:g}: expected 1 or more GPUs of more than 0 GiB each")
    size = round(memory * GIB)
    return (Gpu("planned", size, size, 8.0),) * count


def _count(number: int, name: str) -> str:
    return f"{number or 'no'} {name}{'' if number == 1 else 's'}"


def _facts(run: UpcomingRun) -> str:
    rows = [
        ["prompts a step", run.prompts],
        ["sequences a step", run.prompts * run.responses],
        ["updates a step", -(-run.prompts // run.mini_batch)],
        ["sequences a rank", f"{run.prompts * run.responses / run.ranks:,.0f}"],
        ["steps an epoch", _known(run.steps_per_epoch)],
        ["steps in total", _known(run.steps)],
    ]
    if run.shape:
        count = kept_checkpoints(run)
        rows.append(["parameters", run.shape.parameters])
        rows.append(["a checkpoint", f"{checkpoint_bytes(run) / GIB:.1f} GiB"])
        rows.append(["checkpoints kept", "all" if count is None else count])
    if run.cache_tokens is not None:
        rows.append(["KV cache of a replica", f"{max(run.cache_tokens, 0):,} tokens"])
        rows.append(["whole sequences in it", max(run.cache_tokens, 0) // run.length])
    return format_table(["a run", ""], rows)


def _known(value: int | None) -> str:
    return "unknown: no data" if value is None else f"{value:,}"


def _memory(phases: dict[str, Parts]) -> str:
    names = dict.fromkeys(part for parts in phases.values() for part in parts)
    rows = [[name, *(_gib(parts.get(name)) for parts in phases.values())] for name in names]
    rows.append(["total", *(_gib(sum(parts.values())) for parts in phases.values())])
    return format_table(["GiB", *phases], rows)


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / GIB:.1f}"
