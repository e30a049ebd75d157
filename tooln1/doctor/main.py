"""The command's work: quiet the libraries, examine, print."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator

from tooln1.doctor.findings import Findings
from tooln1.settings import Settings

_DEFAULT_MEMORY = 80.0
_DEFAULT_GPUS = 8


def doctor(settings: Settings, *, gpus: int | None = None, gpu_memory: float | None = None) -> int:
    """Examine a run, print the findings and the estimates, and return the exit code: 2 for a fault, else 0.

    Args:
        gpus: of a node of a machine to plan for; with ``gpu_memory`` None too, this machine is examined.
        gpu_memory: of one of them, in GiB.
    """
    with _quiet():
        # Imported here: verl and transformers greet and warn while they are imported.
        from tooln1.doctor.examine import examine
        from tooln1.doctor.machine import planned_machine, probe_machine
        from tooln1.doctor.tables import tables

        if gpus is None and gpu_memory is None:
            machine = probe_machine()
        else:
            machine = planned_machine(
                _DEFAULT_GPUS if gpus is None else gpus, _DEFAULT_MEMORY if gpu_memory is None else gpu_memory
            )
        examination = examine(settings.config, settings.all_overrides, machine)
    for item in examination.findings.items:
        print(item)
    for table in tables(examination):
        print(f"\n{table}")
    print(f"\n{_summary(examination.findings)}")
    return 2 if examination.findings.faults else 0


def _summary(findings: Findings) -> str:
    faults, warned = len(findings.faults), len(findings.warnings)
    return f"{_count(faults, 'fault')}, {_count(warned, 'warning')}"


def _count(number: int, name: str) -> str:
    return f"{number or 'no'} {name}{'' if number == 1 else 's'}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what libraries print and log: the findings are all there is to read."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(logging.NOTSET)
