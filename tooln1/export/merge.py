"""Merging a checkpoint's shards with verl's merger, and LoRA adapters into the weights they adapt."""

import os
import shutil
import sys
from pathlib import Path

from tooln1.data.prepared import template_of
from tooln1.files import write_text
from tooln1.prompt import MODEL_TEMPLATE
from tooln1.train.stage import run_stage

_ADAPTER = "lora_adapter"  # where verl's merger puts what a LoRA run has trained


def merger_command(checkpoint: Path, target: Path) -> list[str]:
    """verl's merger, for the checkpoint of either trainer."""
    # PPO keeps the policy in a folder of its own; the SFT trainer has nothing but the model.
    shards = checkpoint / "actor" if (checkpoint / "actor").is_dir() else checkpoint
    return [
        *(sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"),
        *("--local_dir", str(shards), "--target_dir", str(target)),
    ]


def merge(checkpoint: Path, target: Path, log: Path) -> None:
    """Write the model of a checkpoint ``global_step_<N>`` to ``target`` in Hugging Face's format, in bfloat16.

    Raises:
        StageError: verl's merger failed; its output is in ``log``.
    """
    run_stage(merger_command(checkpoint, target), os.environ, log)
    if (target / _ADAPTER).is_dir():
        _merge_adapter(target)


def note_template(folder: Path, *train_files: Path) -> None:
    """Write the prompt template of the training files beside the weights, if they all have the same and tell which.

    `tooln1 serve` and `tooln1 eval` ask the model with it.
    """
    found = {template_of(path) for path in train_files if path.is_file()}
    if len(found) == 1 and (text := found.pop()) is not None:
        write_text(folder / MODEL_TEMPLATE, text)


def _merge_adapter(folder: Path) -> None:
    """Add the adapter's product to the weights, so that the folder is a model like any other."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    merged = PeftModel.from_pretrained(base, folder / _ADAPTER).merge_and_unload()
    for weights in [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]:
        weights.unlink()
    merged.save_pretrained(folder)
    shutil.rmtree(folder / _ADAPTER)
