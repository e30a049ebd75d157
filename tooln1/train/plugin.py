"""Makes the trainer of trainer.py known to verl, as ``trainer.v1.trainer_mode=long_run``.

verl imports this module through the entry-point group ``verl.plugins`` whenever it is imported itself. Its trainers
are imported later, and by few of a run's processes: the registration waits for that.
"""

import importlib

from wrapt import register_post_import_hook

register_post_import_hook(lambda _module: importlib.import_module("tooln1.train.trainer"), "verl.trainer.ppo.v1")
