"""From a run's checkpoint to a Hugging Face folder: merged, with the prompt of its training, checked, and described."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from omegaconf import OmegaConf

from tooln1.chat_template import write_chat_template
from tooln1.data.prepared import template_of
from tooln1.errors import UserError
from tooln1.export.card import write_card
from tooln1.files import read_text, write_text, writing
from tooln1.run_folder import (
    ORIGIN,
    Run,
    RunFolder,
    checkpoint_folder,
    checkpoint_step,
    checkpoint_steps,
    find_run,
    tracked_step,
)
from tooln1.train.checkpoints import BEST, find_fault, read_best
from tooln1.train.stage import run_stage

_ADAPTER = "lora_adapter"  # where verl's merger puts what a LoRA run has trained


def export(run_dir: Path, step: str, output: Path, name: str | None = None) -> Path:
    """Write the model folder ``output``, whole or not at all, and return its path.

    Args:
        run_dir: the folder of a run.
        step: a number, ``best`` (the last if there is no best), or ``last``.
        output: must not exist yet, be empty, or hold the same checkpoint, whose card is then written again.
        name: what the card calls the model; by default the folder's name.

    Raises:
        UserError: the run, its checkpoint or the output folder is not as needed.
        ProcessError: verl's merger failed.
    """
    folder = RunFolder(run_dir)
    if not folder.checkpoints.is_dir():
        raise UserError(f"{run_dir}: no checkpoints/ in it; give the folder of a run that has saved a checkpoint")
    checkpoint = find_checkpoint(folder.checkpoints, step)
    fault = find_fault(checkpoint)
    if fault:
        raise UserError(
            f"{checkpoint}: not usable ({fault}); take another with --step; there are {_steps(folder.checkpoints)}"
        )
    run, origin = read_run(run_dir), _origin(checkpoint)
    if (output / ORIGIN).is_file() and read_text(output / ORIGIN) == origin:
        write_card(output, run, checkpoint_step(checkpoint), name or output.name)
        return output
    with _new_folder(output) as partial:
        merge(checkpoint, partial, folder.log.with_name("export.log"))
        write_prompt(partial, [Path(path) for path in run.listed("data.train_files")])
        check_model_folder(partial)
        write_card(partial, run, checkpoint_step(checkpoint), name or output.name)
        write_text(partial / ORIGIN, origin)
    return output


def export_best(run_dir: Path) -> tuple[Path, Path]:
    """Export a run's best checkpoint for its evaluation, and return the model's and the evaluation's folder.

    A second call writes the model's card again. Raises UserError and ProcessError as `export`.
    """
    folder = RunFolder(run_dir)
    step = checkpoint_step(find_checkpoint(folder.checkpoints, "best"))
    evaluation = folder.evaluations / f"step_{step}"
    return export(run_dir, "best", evaluation / "merged", folder.path.name), evaluation


def _origin(checkpoint: Path) -> str:
    """Return a digest of where the checkpoint is and when it was made: its step may be trained again."""
    return sha256(f"{checkpoint.resolve()} {checkpoint.stat().st_mtime_ns}".encode()).hexdigest()


def find_checkpoint(checkpoints: Path, step: str) -> Path:
    """Return the checkpoint that ``step`` names, in the rotation or in best/. Raises UserError."""
    best, number = read_best(checkpoints), tracked_step(checkpoints)
    if step == "best" and best:
        # Not the step's folder in the rotation: a later attempt may have trained that step again.
        return checkpoint_folder(checkpoints / BEST, best["step"])
    if step not in ("best", "last"):
        if not step.isascii() or not step.isdigit():
            raise UserError(f"--step {step}: expected a number, best or last")
        number = int(step)
    for place in (checkpoints, checkpoints / BEST):
        if number is not None and checkpoint_folder(place, number).is_dir():
            return checkpoint_folder(place, number)
    raise UserError(f"{checkpoints}: no checkpoint {step}; the steps with one are: {_steps(checkpoints)}")


def merge(checkpoint: Path, target: Path, log: Path) -> None:
    """Write the model of a checkpoint of either trainer to ``target`` in Hugging Face's format, in bfloat16.

    Raises:
        ProcessError: verl's merger failed, also because a shard holds more than weights; its output is in ``log``.
    """
    # PPO keeps the policy in a folder actor/; a checkpoint of the SFT trainer is the model.
    shards = checkpoint / "actor" if (checkpoint / "actor").is_dir() else checkpoint
    command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    run_stage([*command, "--local_dir", str(shards), "--target_dir", str(target)], _weights_only(), log)
    if (target / _ADAPTER).is_dir():
        _merge_adapter(target)


def _weights_only() -> dict[str, str]:
    """Return the environment in which torch.load reads weights and runs no code: a pickle could hold any."""
    others = {key: value for key, value in os.environ.items() if key != "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"}
    return {**others, "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}


def write_prompt(model: Path, train_files: Sequence[Path]) -> None:
    """Let a model folder carry the prompt of its training: a note of the prompt template, and the chat template.

    If the training files do not all tell the same prompt template, the folder stays as it is.

    Raises:
        UserError: the tokenizer cannot be loaded or has no chat template.
    """
    found = {template_of(path) for path in train_files if path.is_file()}
    text = found.pop() if len(found) == 1 else None
    if text is None:
        print("the training files do not tell one prompt template: the chat template stays as it is", file=sys.stderr)
        return
    write_chat_template(model, text)


def check_model_folder(folder: Path) -> None:
    """Check that transformers and vLLM can load a model folder, without loading its weights.

    Raises:
        UserError: the first thing that is missing or does not fit.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: does not load: {error}") from None
    if not tokenizer.chat_template:
        raise UserError(f"{folder}: the tokenizer has no chat template; start from an instruction-tuned model")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    shapes = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        except SafetensorError as error:
            raise UserError(f"{path}: not a complete safetensors file ({error})") from None
    tied = set(model.all_tied_weights_keys)
    for name, tensor in model.state_dict().items():
        if name not in shapes and name not in tied:
            raise UserError(f"{folder}: the weights lack {name}")
        if name in shapes and shapes[name] != tuple(tensor.shape):
            raise UserError(f"{folder}: {name} has shape {shapes[name]}, the configuration says {tuple(tensor.shape)}")


def read_run(run_dir: Path) -> Run:
    """Return what the run folder tells, also if it holds nothing but checkpoints and a configuration."""
    try:
        return find_run(run_dir)
    except UserError:
        path = RunFolder(run_dir).config
        config = OmegaConf.to_container(OmegaConf.load(path), resolve=True) if path.is_file() else {}
        return Run(run_dir, config=config)


def _steps(checkpoints: Path) -> str:
    return ", ".join(map(str, checkpoint_steps(checkpoints))) or "none"


def _merge_adapter(folder: Path) -> None:
    """Add the adapter's product to the weights, so that the folder is a model like any other."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, trust_remote_code=False)
    merged = PeftModel.from_pretrained(base, folder / _ADAPTER).merge_and_unload()
    for weights in [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]:
        weights.unlink()
    merged.save_pretrained(folder)
    shutil.rmtree(folder / _ADAPTER)


@contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``output`` if the block succeeds and is removed otherwise."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output}: exists already; remove it, or choose another --output")
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if output.exists():
                output.rmdir()
            os.replace(partial, output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def push(folder: Path, name: str) -> str:
    """Upload a model folder to the hub as the private repository ``name``, and return its address.

    Raises:
        UserError: no token is set, or the hub refuses or cannot be reached, in one line.
    """
    import httpx
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if not get_token():
        raise UserError(f"--push {name}: no token for the Hugging Face hub; set HF_TOKEN, or run: hf auth login")
    api = HfApi()
    try:
        # Private: what a model may be shown to is for its owner to decide, and going public takes one click.
        repository = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository.repo_id, folder_path=folder, commit_message="tooln1 export")
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, httpx.HTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"--push {name}: the hub did not take it ({reason}); the model is in {folder}") from None
    return str(repository)
