"""The model folder of a run: is all there that verl and vLLM are going to read?"""

import json
import os
import re
from pathlib import Path
from typing import Any

from tooln1.errors import UserError

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SAVE_AGAIN = "save the model there again, or check the path"


def hub_is_offline() -> bool:
    """Whether the environment forbids the Hugging Face hub."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in names)


def check_model(model_path: str | Path, length: int, *, offline: bool = False) -> str | None:
    """Check a model folder, or a model of the Hugging Face hub, for sequences of ``length`` tokens.

    Of a model on the hub only config.json is read, from the hub's cache or else from the hub, and the returned sentence
    says that the rest may have to be downloaded. When offline, the cache must hold it all and is checked like a folder.

    Raises:
        UserError: if something that training will read is missing or broken, or if the model's positions end early.
    """
    folder = Path(model_path)
    if folder.is_dir():
        _check_folder(folder, length)
        return None
    if folder.exists():
        raise UserError(f"{model_path}: a file; expected a folder with config.json, the tokenizer and the weights")
    if not _HUB_NAME.fullmatch(str(model_path)):
        raise UserError(
            f"{model_path}: no such folder; expected config.json, the tokenizer and the weights in it; check the path"
        )
    folder = _fetch_config(str(model_path), offline)
    if offline:
        _check_folder(folder, length)
        return None
    _check_config(folder / "config.json", length)
    return f"{model_path}: not a folder here; it is taken from the Hugging Face hub, downloaded if the cache lacks it"


def model_config(model_path: str | Path, *, offline: bool = False) -> dict[str, Any]:
    """What the config.json of a model folder, or of a model of the hub, says.

    Raises:
        UserError: if there is none, or it is broken.
    """
    folder = Path(model_path)
    return _read_config((folder if folder.is_dir() else _fetch_config(str(model_path), offline)) / "config.json")


def _fetch_config(name: str, offline: bool) -> Path:
    """The folder of the hub's cache that holds the model's config.json."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, "config.json", local_files_only=True)).parent
    except (LocalEntryNotFoundError, HFValidationError):
        pass
    if offline:
        raise UserError(
            f"{name}: no such folder, and the Hugging Face hub is switched off (HF_HUB_OFFLINE) while its cache lacks "
            f"this model; give a folder, or download it where there is a network: hf download {name}"
        )
    try:
        HfApi().model_info(name, timeout=10)  # a download alone would try again for half a minute without a network
        return Path(hf_hub_download(name, "config.json")).parent
    except Exception as error:  # network, proxy, name, rights: the hub's client has a class for each
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise UserError(
            f"{name}: no such folder, and the Hugging Face hub does not give it ({type(error).__name__}: {reason}); "
            f"check the name and the network, or give a folder"
        ) from None


def _check_folder(folder: Path, length: int) -> None:
    _check_config(folder / "config.json", length)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        choices = ", ".join(_TOKENIZERS)
        raise UserError(f"{folder}: no tokenizer; expected one of {choices}; save the tokenizer there with the model")
    _check_weights(folder)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path.parent}: no config.json; expected a Hugging Face model folder; {_SAVE_AGAIN}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); {_SAVE_AGAIN}") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise UserError(f'{path}: expected a JSON object with "model_type"; {_SAVE_AGAIN}')
    return config


def _check_config(path: Path, length: int) -> None:
    positions = _positions(_read_config(path))
    if positions is not None and positions < length:
        raise UserError(
            f"{path}: max_position_embeddings is {positions:g}, fewer than the {length} tokens of the longest prompt "
            f"and response together; lower max_prompt_length or max_response_length, or take another model"
        )


def _positions(config: dict[str, Any]) -> float | None:
    """How many positions vLLM will allow; None if the file does not say, where the architecture's default holds."""
    text = config.get("text_config")
    config = text if isinstance(text, dict) else config
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    if not isinstance(positions, int):
        return None
    # vLLM multiplies by the factor of a stretched rotary embedding, save for the kinds that give the stretched number.
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    rope = rope if isinstance(rope, dict) else {}
    factor = rope.get("factor")
    if not isinstance(factor, (int, float)) or rope.get("rope_type", rope.get("type")) in ("su", "longrope", "llama3"):
        return positions
    return max(positions, factor * rope.get("original_max_position_embeddings", positions))


def _check_weights(folder: Path) -> None:
    # The trainer of transformers leaves its arguments as training_args.bin: no weights.
    files = sorted(folder.glob("*.safetensors")) or sorted(set(folder.glob("*.bin")) - {folder / "training_args.bin"})
    if not files:
        raise UserError(f"{folder}: no weights; expected *.safetensors or *.bin; {_SAVE_AGAIN}")
    # An index of the other kind may lie there too: a download of one kind of weights often brings every JSON file.
    for index in folder.glob(f"*{files[0].suffix}.index.json"):
        _check_parts(index)
    for path in files:
        _check_complete(path)


def _check_parts(index: Path) -> None:
    whole = index.with_name(index.name.removesuffix(".index.json"))
    if whole.is_file():  # which transformers then reads instead
        return
    try:
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f'{index}: expected JSON with a "weight_map"; {_SAVE_AGAIN}') from None
    missing = sorted(part for part in parts if not index.with_name(part).is_file())
    if missing:
        raise UserError(
            f"{index.parent}: {len(missing)} of {len(parts)} weight files missing ({missing[0]}, …); {_SAVE_AGAIN}"
        )


def _check_complete(path: Path) -> None:
    """A download that broke off, or the pointer that git leaves without git-lfs, looks like weights until it is read.

    Of pickled *.bin weights only these beginnings are looked at.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start == b"version ":
            raise UserError(f"{path}: a git-lfs pointer, not the weights; run git lfs pull in {path.parent}")
        if path.suffix == ".safetensors":
            # The format's head: its length in 8 bytes, then JSON with the place of every tensor.
            head_size = int.from_bytes(start, "little")
            try:
                head = json.loads(file.read(head_size)) if head_size < size else {}
                ends = [entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__"]
            except (ValueError, LookupError, TypeError, AttributeError):
                ends = []
            if not ends or 8 + head_size + max(ends) > size:
                raise UserError(f"{path}: incomplete or no safetensors file ({size} bytes); {_SAVE_AGAIN}")
    if size == 0:
        raise UserError(f"{path}: the file is empty; {_SAVE_AGAIN}")
