"""The list of all checks. `tooln1 doctor` runs the whole list, `tooln1 train` all but those of another machine's GPUs.

Each check is a function from a run to its findings; a UserError that it raises is a fault.
"""

import contextlib
import dataclasses
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tooln1.checks.arithmetic import check_arithmetic, check_model_sizes
from tooln1.checks.capacity import check_cpu_memory, check_disk, check_gpu_memory, check_resume
from tooln1.checks.data_files import check_data_files
from tooln1.checks.findings import FAULT, OK, WARNING, Finding, fault, warning
from tooln1.checks.model_files import check_model_files
from tooln1.checks.prompts import check_prompt_tokens, check_prompts
from tooln1.checks.reward import check_reward
from tooln1.checks.same_run import check_same_run
from tooln1.checks.this_machine import (
    check_gpus,
    check_loggers,
    check_network,
    check_packages,
    check_ray,
    check_shared_memory,
    check_surroundings,
    probe_gpus,
)
from tooln1.checks.upcoming_run import Gpu, UpcomingRun
from tooln1.checks.with_verl import check_keys, check_validation
from tooln1.config import require_inputs
from tooln1.errors import UserError
from tooln1.files import one_line
from tooln1.settings import Settings


@dataclass(frozen=True)
class Check:
    """One check.

    Args:
        subject: what the check is about, in one word.
        find: yields the findings.
        here: whether a fault is of this machine and its files. If the run is for another machine, it is a warning.
        on_cpu: whether `tooln1 train` leaves the check out of a run on GPUs: because the machine may be another one, or
            because it takes long for large data.
    """

    subject: str
    find: Callable[[UpcomingRun], Iterator[Finding]]
    here: bool = False
    on_cpu: bool = False


def check_inputs(run: UpcomingRun) -> Iterator[Finding]:
    """Settings that have no value."""
    require_inputs(run.config)
    yield from ()


# Those of `tooln1 train`, in order. First what takes a second or two, and imports neither verl nor torch.
QUICK = (
    Check("settings", check_inputs, here=True),
    Check("resume", check_same_run, here=True),
    Check("settings", check_arithmetic),
    Check("settings", check_keys),
    Check("machine", check_surroundings, here=True),
    Check("versions", check_packages, here=True, on_cpu=True),
    Check("shm", check_shared_memory, here=True, on_cpu=True),
    Check("model", check_model_files, here=True),
    Check("settings", check_model_sizes),
    Check("data", check_data_files),
    Check("resume", check_resume),
    Check("disk", check_disk, here=True),
    Check("loggers", check_loggers, here=True),
)
WITH_VERL = (
    Check("settings", check_validation),
    Check("reward", check_reward),
    Check("prompts", check_prompts),
    Check("data", check_prompt_tokens, on_cpu=True),
    Check("memory", check_cpu_memory, here=True, on_cpu=True),
)
# The doctor's alone: `tooln1 train` may be started from another machine than those with the GPUs.
OF_GPUS = (
    Check("gpus", check_gpus),
    Check("nccl", check_network, here=True),
    Check("ray", check_ray, here=True),
    Check("memory", check_gpu_memory),
)
EVERY = QUICK + WITH_VERL + OF_GPUS


def refuse_faults(run: UpcomingRun, checks: Sequence[Check]) -> list[str]:
    """Run some checks of `tooln1 train`, and return their warnings.

    Raises:
        UserError: with a line for each fault.
    """
    chosen = [check for check in checks if run.on_cpu or not check.on_cpu]
    with quiet():
        findings = list(run_checks(run, chosen))
    if faults := [finding.message for finding in findings if finding.severity == FAULT]:
        raise UserError(*faults)
    return [finding.message for finding in findings if finding.severity == WARNING]


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
    try:
        run = UpcomingRun(settings, gpus or (), planned=gpus is not None)
    except UserError as error:
        return [Finding(FAULT, str(error), subject="settings")], None
    with quiet():
        if gpus is None and not run.on_cpu:
            run.gpus = probe_gpus()
        return list(run_checks(run, checks)), run


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
        yield from map(fault, error.messages)
    except Exception as error:  # of any class: settings and files may hold anything, and verl would fail later
        yield fault(f"cannot be checked ({type(error).__name__}: {one_line(error)}); correct the settings or the files")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what libraries print, log and warn of: the findings are all there is to read."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(logging.NOTSET)
