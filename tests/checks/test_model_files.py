"""A model folder that training could not read is refused with one line that names what is missing."""

import json

import pytest
from huggingface_hub import HfApi, constants

from tooln1.checks.model_files import check_model, read_positions
from tooln1.errors import UserError

CONFIG = {"model_type": "qwen2", "max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
INDEX = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}


def refuse(path, *pieces):
    with pytest.raises(UserError) as error:
        check_model(path)
    for piece in pieces:
        assert piece in str(error.value)
    assert "\n" not in str(error.value)


def test_a_whole_model_passes(model):
    assert check_model(model) is None


@pytest.mark.parametrize(
    "name, content, expected",
    [
        ("config.json", None, "model: no config.json"),
        ("config.json", "{", "config.json: not JSON"),
        ("config.json", b"\xff\xfe", "config.json: not UTF-8 text"),
        ("config.json", "[]", "config.json: expected a JSON object"),
        ("config.json", '{"max_position_embeddings": 64}', '"model_type"'),
        ("tokenizer.json", None, "model: no tokenizer; expected one of tokenizer.json"),
        ("model.safetensors", None, "model: no weights; expected *.safetensors or *.bin"),
        ("model.safetensors", b"", "model.safetensors: the file is empty"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer, not the weights; run"),
        ("model.safetensors", b"not safetensors at all", "incomplete or no safetensors file"),
    ],
)
def test_what_is_missing_or_broken_is_named(model, name, content, expected):
    if content is None:
        (model / name).unlink()
    else:
        (model / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    refuse(model, expected)


@pytest.mark.parametrize(
    "config, positions",
    [
        ({"model_type": "qwen2"}, None),  # the architecture's default holds, which only transformers knows
        (CONFIG, 64),
        ({"model_type": "gpt2", "n_positions": 64}, 64),
        # Multimodal models keep the language model's numbers one level down.
        ({"model_type": "x", "text_config": {"max_position_embeddings": 63}}, 63),
        # A stretched embedding reaches further; a Llama 3 file gives the stretched number itself.
        ({**CONFIG, "rope_scaling": YARN}, 256),
        ({**CONFIG, "rope_scaling": {**YARN, "rope_type": "llama3"}}, 64),
        ({**CONFIG, "rope_parameters": {"rope_type": "default"}}, 64),
    ],
)
def test_positions_are_read_as_vllm_reads_them(config, positions):
    assert read_positions(config) == positions


def test_weights_cut_short_are_refused(model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    refuse(model, "model.safetensors: incomplete")


def test_a_missing_part_of_the_weights_is_named(model):
    (model / "model.safetensors").rename(model / "model-1-of-2.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps(INDEX))
    refuse(model, "model: 1 of 2 weight files missing (model-2-of-2.safetensors")
    (model / "model.safetensors.index.json").write_text("{}")
    refuse(model, 'index.json: expected JSON with a "weight_map"')


def test_the_index_of_another_kind_of_weights_does_not_matter(model):
    (model / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "pytorch_model-1.bin"}}))
    check_model(model)


def test_a_trainers_arguments_are_no_weights(model):
    (model / "model.safetensors").rename(model / "training_args.bin")
    refuse(model, "no weights")
    (model / "training_args.bin").rename(model / "pytorch_model.bin")
    check_model(model)


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


def test_a_name_on_the_hub_needs_the_hub_or_its_cache(hub, monkeypatch):
    refuse("org/name", "the Hugging Face hub does not give it (ConnectionError: no network")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refuse("org/name", "org/name: no such folder", "HF_HUB_OFFLINE", "hf download org/name")
    refuse("org/a--b", "org/a--b: no such folder")  # two dashes: no name that the hub allows


def test_a_model_in_the_hubs_cache_is_checked(hub, model, monkeypatch):
    folder = hub / "models--org--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123")
    (folder / "snapshots").mkdir()
    model.rename(folder / "snapshots" / "0123")
    assert "org/name: not a folder here; it is taken from the Hugging Face hub" in check_model("org/name")
    # What the cache lacks can still be downloaded, but not offline.
    (folder / "snapshots" / "0123" / "model.safetensors").unlink()
    assert check_model("org/name")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refuse("org/name", "no weights")
