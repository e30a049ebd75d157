"""The list of all checks. `tooln1 doctor` runs the whole list, `tooln1 train` the quick part of it.

Each check is a function from a run to its findings; a UserError that it raises is a fault.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tooln1.checks.arithmetic import check_arithmetic, check_model_sizes
from tooln1.checks.capacity import check_cpu_memory, check_disk, check_gpu_memory, check_resume
from tooln1.checks.data_files import check_data_files, check_prompt_tokens
from tooln1.checks.findings import FAULT, OK, WARNING, Finding, fault, warning
from tooln1.checks.model_files import check_model_files
from tooln1.checks.same_run import check_same_run
from tooln1.checks.this_machine import (
    check_gpus,
    check_loggers,
    check_network,
    check_packages,
    check_ray,
    check_shared_memory,
    probe_gpus,
)
from tooln1.checks.upcoming_run import Gpu, UpcomingRun
from tooln1.checks.with_verl import check_keys, check_reward, check_validation
from tooln1.config import require_inputs
from tooln1.errors import UserError
from tooln1.settings import Settings


@dataclass(frozen=True)
class Check:
    """One check.

    Args:
        subject: what the check is about, in one word.
        find: yields the findings.
        here: whether a fault is of this machine and its files. If the run is for another machine, it is a warning.
    """

    subject: str
    find: Callable[[UpcomingRun], Iterator[Finding]]
    here: bool = False


def check_inputs(run: UpcomingRun) -> Iterator[Finding]:
    """Settings that have no value."""
    require_inputs(run.config)
    yield from ()


# Quick, and right for every run.
QUICK = (
    Check("settings", check_inputs, here=True),
    Check("resume", check_same_run, here=True),
    Check("settings", check_arithmetic),
    Check("model", check_model_files, here=True),
    Check("settings", check_model_sizes),
    Check("data", check_data_files, here=True),
    Check("resume", check_resume),
)
# Quick, and right where the run is on this machine for certain and its data are few.
QUICK_ON_CPU = (
    Check("versions", check_packages, here=True),
    Check("shm", check_shared_memory, here=True),
    Check("data", check_prompt_tokens, here=True),
    Check("disk", check_disk, here=True),
    Check("memory", check_cpu_memory, here=True),
)
# The doctor's alone. Some import verl and torch, which takes ten seconds.
THOROUGH = (
    Check("settings", check_keys),
    Check("settings", check_validation),
    Check("reward", check_reward),
    Check("gpus", check_gpus),
    Check("nccl", check_network, here=True),
    Check("ray", check_ray, here=True),
    Check("loggers", check_loggers, here=True),
    Check("memory", check_gpu_memory),
)
EVERY = QUICK + QUICK_ON_CPU + THOROUGH


def check_quickly(settings: Settings) -> list[str]:
    """Check what can be checked in seconds, before a run starts.

    Returns:
        Warnings for the user.

    Raises:
        UserError: the first fault.
    """
    run, warnings = UpcomingRun(settings), []
    for finding in run_checks(run, QUICK + (QUICK_ON_CPU if run.on_cpu else ())):
        if finding.severity == FAULT:
            raise UserError(finding.message)
        if finding.severity == WARNING:
            warnings.append(finding.message)
    return warnings


def examine(
    settings: Settings, gpus: tuple[Gpu, ...] | None = None, checks: Sequence[Check] = EVERY
) -> tuple[list[Finding], UpcomingRun | None]:
    """Run a list of checks, also where some find faults.

    Args:
        gpus: of one node of another machine, for which the run is planned. None: this machine is examined.
        checks: the whole list, or some of it.

    Returns:
        The findings, and the run, None if its settings cannot be composed.
    """
    findings = []
    # Without a logger that does not work, everything else can be checked.
    for overrides in ([], ["trainer.logger=console"]):
        attempt = dataclasses.replace(settings, overrides=(*settings.overrides, *overrides))
        try:
            run = UpcomingRun(attempt, gpus or (), planned=gpus is not None)
            break
        except UserError as error:
            findings = findings or [dataclasses.replace(fault(error), subject="settings")]
    else:
        return findings, None
    if gpus is None and not run.on_cpu:
        run.gpus = probe_gpus()
    return [*findings, *run_checks(run, checks)], run


def run_checks(run: UpcomingRun, checks: Sequence[Check]) -> Iterator[Finding]:
    """Yield the findings of the checks, each with its subject."""
    for check in checks:
        has_problem = False
        for finding in _find(check, run):
            has_problem |= finding.severity != OK
            if has_problem and finding.is_conclusion:
                continue
            if check.here and run.planned and finding.severity == FAULT:
                finding = warning(f"on this machine: {finding.message}")
            yield dataclasses.replace(finding, subject=check.subject)


def _find(check: Check, run: UpcomingRun) -> Iterator[Finding]:
    try:
        yield from check.find(run)
    except UserError as error:
        yield fault(error)
