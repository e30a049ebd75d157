"""Runs of the recipes, a model folder that needs no torch to write, and parquet files small enough to count by hand."""

import functools
import json
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from published_models import MODELS

from tooln1.checks.model_shape import read_shape
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.settings import Settings

# One token a word; the template adds one for every message and one for the response.
TEMPLATE = (
    "{% for message in messages %}{% if message.content == 'nonsense' %}{{ raise_exception('no') }}{% endif %}"
    "@ {{ message.content }} {% endfor %}{% if add_generation_prompt %}@ {{ extra }}{% endif %}"
)
CONFIG = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 2,
    "max_position_embeddings": 512,
}


@pytest.fixture(scope="session")
def make():
    """A run of a recipe with other settings, as {dotted key: value}; keywords replace what the run has read.

    A recipe is composed once, because that takes most of the time.
    """
    composed = functools.cache(lambda recipe: Settings(recipe).composed)

    def build(recipe="tool_n1_grpo", changes=None, **numbers):
        config = composed(recipe).copy()
        for key, value in (changes or {}).items():
            OmegaConf.update(config, key, value, force_add=True)
        settings = Settings(recipe)
        vars(settings)["_composition"] = ([], config)
        run = UpcomingRun(settings)
        vars(run).update(numbers)
        return run

    return build


@pytest.fixture(scope="session")
def shape_of():
    return lambda name: read_shape(MODELS[name][0], name)


@pytest.fixture
def model(tmp_path):
    """A folder with everything that the checks look for."""
    folder = tmp_path / "model"
    words = {"model": {"type": "WordLevel", "vocab": {"?": 0, "@": 1}, "unk_token": "?"}}
    # A truncation that some tokenizers are saved with; a count that honours it never finds a prompt too long.
    cut = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    split = {"type": "WhitespaceSplit"}
    files = {
        "config.json": CONFIG,
        "tokenizer.json": {"version": "1.0", "truncation": cut, "pre_tokenizer": split, "added_tokens": [], **words},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
    }
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    head = json.dumps({"w": {"dtype": "U8", "shape": [200], "data_offsets": [0, 200]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(200))
    return folder


@pytest.fixture
def parquet(tmp_path):
    """Writes a file with a prompt of as many words as each number says, or of a text."""

    def write(name, prompts):
        rows = [
            {
                "data_source": "toolcall/xlam",
                "prompt": [{"role": "user", "content": prompt if isinstance(prompt, str) else "w " * prompt}],
                "reward_model": {"style": "rule", "ground_truth": "[]"},
            }
            for prompt in prompts
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
        return tmp_path / name

    return write
