"""verl's platform for machines without an accelerator, chosen by ``VERL_PLATFORM=cpu``.

verl imports this module through the entry-point group ``verl.plugins`` whenever it is imported itself. Without
``VERL_PLATFORM=cpu`` nothing happens here: no import, no registration, no patch.
"""

import os

if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
    from tooln1.platforms.cpu.activate import activate

    activate()
