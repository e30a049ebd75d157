"""Registers the trainer of trainer.py with verl, as ``trainer.v1.trainer_mode=long_run``.

    VERL_USE_EXTERNAL_MODULES=tooln1.train.plugin python -m verl.trainer.main_ppo trainer.v1.trainer_mode=long_run …

`tooln1 train` sets both. Every process of a run imports this module, but few import verl's trainers, and later: the
registration waits for that import.
"""

import importlib

from wrapt import register_post_import_hook

register_post_import_hook(lambda _module: importlib.import_module("tooln1.train.trainer"), "verl.trainer.ppo.v1")
