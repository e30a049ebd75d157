"""A model folder that training could not read is refused with one line that names what is missing."""

import json

import pytest
from huggingface_hub import HfApi, constants

from tooln1.errors import UserError
from tooln1.preflight.model import check_model

CONFIG = {"model_type": "qwen2", "max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
INDEX = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}


def refuse(path, *pieces, length=64, offline=True):
    with pytest.raises(UserError) as error:
        check_model(path, length, offline=offline)
    for piece in pieces:
        assert piece in str(error.value)
    assert "\n" not in str(error.value)


def test_a_whole_model_passes(model):
    assert check_model(model, 64) is None


@pytest.mark.parametrize(
    "name, content, pieces",
    [
        ("config.json", None, ["model: no config.json"]),
        ("config.json", "{", ["config.json: not readable as JSON"]),
        ("config.json", b"\xff\xfe", ["config.json: not readable as JSON"]),
        ("config.json", "[]", ["config.json: expected a JSON object"]),
        ("config.json", '{"max_position_embeddings": 64}', ['"model_type"']),
        ("config.json", json.dumps({**CONFIG, "max_position_embeddings": 63}), ["is 63, fewer than the 64 tokens"]),
        ("config.json", json.dumps({"model_type": "gpt2", "n_positions": 63}), ["is 63, fewer than the 64 tokens"]),
        # Multimodal models keep the language model's numbers one level down.
        ("config.json", json.dumps({"model_type": "x", "text_config": {"max_position_embeddings": 63}}), ["is 63"]),
        ("tokenizer.json", None, ["model: no tokenizer; expected one of tokenizer.json"]),
        ("model.safetensors", None, ["model: no weights; expected *.safetensors or *.bin"]),
        ("model.safetensors", b"", ["model.safetensors: incomplete"]),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", ["git-lfs pointer", "git lfs pull"]),
        ("model.safetensors", b"\x02" + bytes(7) + b"{}", ["incomplete or no safetensors file (10 bytes)"]),
        ("model.safetensors", b"not safetensors at all", ["incomplete or no safetensors file (22 bytes)"]),
    ],
)
def test_what_is_missing_or_broken_is_named(model, name, content, pieces):
    if content is None:
        (model / name).unlink()
    else:
        (model / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    refuse(model, *pieces)


@pytest.mark.parametrize(
    "config, length",
    [
        ({"model_type": "qwen2"}, 10**6),  # the architecture's default holds, which only transformers knows
        ({**CONFIG, "rope_scaling": YARN}, 256),
        ({**CONFIG, "rope_parameters": {"rope_type": "default"}}, 64),
    ],
)
def test_positions_that_reach_pass(model, config, length):
    (model / "config.json").write_text(json.dumps(config))
    check_model(model, length)


def test_stretched_positions_end_as_well(model):
    (model / "config.json").write_text(json.dumps({**CONFIG, "rope_scaling": YARN}))
    refuse(model, "is 256, fewer than the 257", length=257)
    # A Llama 3 file gives the stretched number itself.
    (model / "config.json").write_text(json.dumps({**CONFIG, "rope_scaling": {**YARN, "rope_type": "llama3"}}))
    refuse(model, "is 64, fewer than the 65", length=65)


def test_weights_cut_short_are_refused(model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    refuse(model, "model.safetensors: incomplete")


def test_a_part_of_the_weights_that_is_missing_is_named(model):
    (model / "model.safetensors").rename(model / "model-1-of-2.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps(INDEX))
    refuse(model, "model: 1 of 2 weight files missing (model-2-of-2.safetensors")
    (model / "model.safetensors.index.json").write_text("{}")
    refuse(model, 'index.json: expected JSON with a "weight_map"')


def test_the_index_of_another_kind_of_weights_does_not_matter(model):
    (model / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "pytorch_model-1.bin"}}))
    check_model(model, 64)


def test_a_trainers_arguments_are_no_weights(model):
    (model / "model.safetensors").rename(model / "training_args.bin")
    refuse(model, "no weights")
    (model / "training_args.bin").rename(model / "pytorch_model.bin")
    check_model(model, 64)
    (model / "pytorch_model.bin").write_bytes(b"")
    refuse(model, "pytorch_model.bin: the file is empty")


def test_paths_that_are_no_folder_are_refused(model, tmp_path):
    refuse(model / "config.json", "config.json: a file; expected a folder")
    refuse(tmp_path / "none", "none: no such folder; expected config.json")
    refuse("./none", "./none: no such folder; expected config.json")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache, and a hub without a network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def unreachable(*args, **kwargs):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(HfApi, "model_info", unreachable)
    return tmp_path / "hub"


def test_a_name_on_the_hub_needs_the_hub_or_its_cache(hub):
    refuse("org/name", "org/name: no such folder", "HF_HUB_OFFLINE", "hf download org/name")
    refuse("org/name", "the Hugging Face hub does not give it (ConnectionError: no network);", offline=False)
    refuse("org/a--b", "org/a--b: no such folder")  # two dashes: no name that the hub allows


def test_a_model_in_the_hubs_cache_is_checked(hub, model):
    folder = hub / "models--org--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123")
    (folder / "snapshots").mkdir()
    model.rename(folder / "snapshots" / "0123")
    assert check_model("org/name", 64, offline=True) is None
    assert "org/name: not a folder here; it is taken from the Hugging Face hub" in check_model("org/name", 64)
    refuse("org/name", "fewer than the 65 tokens", length=65, offline=False)
    # What the cache lacks can still be downloaded, but not offline.
    (folder / "snapshots" / "0123" / "model.safetensors").unlink()
    assert check_model("org/name", 64)
    refuse("org/name", "no weights")
