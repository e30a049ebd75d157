"""The model of a run: does its folder have everything that verl and vLLM read?"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tooln1.checks.findings import Finding, ok, warning
from tooln1.checks.model_shape import read_shape
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.errors import UserError
from tooln1.files import one_line, read_json

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SAVE_AGAIN = "save the model there again, or check the path"


def check_model_files(run: UpcomingRun) -> Iterator[Finding]:
    """A model that is missing or incomplete, or whose size has no formulas."""
    if run.model_name is None:
        return
    config, problem = _read_config(_locate(run.model_name)[0]), None
    # Even beside a missing file, config.json is enough to plan with.
    run.positions = read_positions(config)
    try:
        run.shape = read_shape(config, run.model_name)
    except UserError as error:
        problem = error
    note = check_model(run.model_name)
    run.whole_model = run.model_name
    if note:
        yield warning(note)
    if problem:
        yield warning(problem)
    else:
        yield ok(f"{run.model_name}: {run.shape.parameters / 1e9:.3g} billion parameters")


def check_model(model: str | Path) -> str | None:
    """Check a model folder, or a model of the Hugging Face hub.

    Of a model on the hub only config.json is read, and the returned sentence says that the rest may have to be
    downloaded. Where the environment forbids the hub (HF_HUB_OFFLINE), its cache is checked like a folder.

    Raises:
        UserError: something that training will read is missing or broken.
    """
    folder, is_whole = _locate(model)
    _read_config(folder)
    if not is_whole:
        return f"{model}: not a folder here; it is taken from the Hugging Face hub, downloaded if the cache lacks it"
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        choices = ", ".join(_TOKENIZERS)
        raise UserError(f"{folder}: no tokenizer; expected one of {choices}; save the tokenizer there with the model")
    _check_weights(folder)
    return None


def _locate(model: str | Path) -> tuple[Path, bool]:
    """Return the folder with the model's config.json, and whether everything else must be in it too."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder, True
    if folder.exists():
        raise UserError(f"{model}: a file; expected a folder with config.json, the tokenizer and the weights")
    if not _HUB_NAME.fullmatch(str(model)):
        raise UserError(
            f"{model}: no such folder; expected config.json, the tokenizer and the weights in it; check the path"
        )
    return _fetch_config(str(model))


def _fetch_config(name: str) -> tuple[Path, bool]:
    from huggingface_hub import HfApi, hf_hub_download, is_offline_mode
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    offline = is_offline_mode()
    try:
        return Path(hf_hub_download(name, "config.json", local_files_only=True)).parent, offline
    except (LocalEntryNotFoundError, HFValidationError):
        pass
    if offline:
        raise UserError(
            f"{name}: no such folder, and the Hugging Face hub is switched off (HF_HUB_OFFLINE) while its cache lacks "
            f"this model; give a folder, or download it where there is a network: hf download {name}"
        )
    try:
        HfApi().model_info(name, timeout=10)  # without a network, a download alone retries for half a minute
        return Path(hf_hub_download(name, "config.json")).parent, False
    except Exception as error:  # network, proxy, name, rights: the hub's client has a class for each
        raise UserError(
            f"{name}: no such folder, and the Hugging Face hub does not give it "
            f"({type(error).__name__}: {one_line(error, 160)}); check the name and the network, or give a folder"
        ) from None


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder}: no config.json; expected a Hugging Face model folder; {_SAVE_AGAIN}")
    try:
        config = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; {_SAVE_AGAIN}") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise UserError(f'{path}: expected a JSON object with "model_type"; {_SAVE_AGAIN}')
    return config


def read_positions(config: dict[str, Any]) -> float | None:
    """Return the longest sequence that a model reads, in tokens, None if its config.json does not tell."""
    # Multimodal models keep the language model's numbers one level down.
    config = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    if not isinstance(positions, int):
        return None  # the architecture's default holds, which only transformers knows
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    rope = rope if isinstance(rope, dict) else {}
    factor = rope.get("factor")
    # vLLM multiplies by the factor of a stretched rotary embedding, except for the kinds whose number is stretched.
    if isinstance(factor, (int, float)) and rope.get("rope_type", rope.get("type")) not in ("su", "longrope", "llama3"):
        return max(positions, factor * rope.get("original_max_position_embeddings", positions))
    return positions


def _check_weights(folder: Path) -> None:
    # The trainer of transformers leaves its arguments as training_args.bin: no weights.
    files = sorted(folder.glob("*.safetensors")) or sorted(set(folder.glob("*.bin")) - {folder / "training_args.bin"})
    if not files:
        raise UserError(f"{folder}: no weights; expected *.safetensors or *.bin; {_SAVE_AGAIN}")
    # An index of the other kind may be there too: a download of one kind of weights often brings every JSON file.
    for index in folder.glob(f"*{files[0].suffix}.index.json"):
        # transformers reads a file with the whole model first.
        if not index.with_name(index.name.removesuffix(".index.json")).is_file():
            _check_parts(index)
    for path in files:
        _check_complete(path)


def _check_parts(index: Path) -> None:
    try:
        parts = set(read_json(index)["weight_map"].values())
    except (KeyError, AttributeError, TypeError):
        raise UserError(f'{index}: expected JSON with a "weight_map"; {_SAVE_AGAIN}') from None
    missing = sorted(part for part in parts if not index.with_name(part).is_file())
    if missing:
        raise UserError(
            f"{index.parent}: {len(missing)} of {len(parts)} weight files missing ({missing[0]}, …); {_SAVE_AGAIN}"
        )


def _check_complete(path: Path) -> None:
    """Refuse a download that broke off, and the pointer that git leaves without git-lfs."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as file:
        start = file.read(8)
    if start == b"version ":
        raise UserError(f"{path}: a git-lfs pointer, not the weights; run git lfs pull in {path.parent}")
    if not start:
        raise UserError(f"{path}: the file is empty; {_SAVE_AGAIN}")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="numpy"):  # compares the head with the file's size
                pass
        except SafetensorError as error:
            raise UserError(f"{path}: incomplete or no safetensors file ({error}); {_SAVE_AGAIN}") from None
