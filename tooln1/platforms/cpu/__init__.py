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


def _activate() -> None:
    from tooln1.errors import UserError
    from tooln1.platforms.versions import check_versions

    try:
        check_versions()
    except UserError as error:
        # verl ignores a plugin's ordinary exceptions, and training would fail minutes later for no visible reason.
        print(error, file=sys.stderr)
        raise SystemExit(2) from None

    from tooln1.platforms.cpu import platform, verl_patches  # noqa: F401  (importing the platform registers it)

    verl_patches.install()


if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
    _activate()
