"""A model folder and parquet files small enough to count by hand."""

import json
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# One token a word, whatever the word; the template adds one for every message and one for the reply.
TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "@ {{ message.content }} {% endfor %}{% if add_generation_prompt %}@ {{ extra }}{% endif %}"
)


def tensors(size=8):
    """A safetensors file of ``size`` bytes of weights."""
    head = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(head)) + head + bytes(size)


def write_model(folder):
    folder.mkdir()
    words = {"model": {"type": "WordLevel", "vocab": {"?": 0, "@": 1}, "unk_token": "?"}}
    # A truncation that some tokenizers are saved with; a count that honours it never finds a prompt too long.
    cut = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    split = {"type": "WhitespaceSplit"}
    files = {
        # For a Qwen2 transformers builds Qwen2's own tokenizer around the vocabulary; for a Phi-3 it takes the file's.
        "config.json": {"model_type": "phi3", "max_position_embeddings": 64},
        "tokenizer.json": {"version": "1.0", "truncation": cut, "pre_tokenizer": split, "added_tokens": [], **words},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "model.safetensors").write_bytes(tensors())
    return folder


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


@pytest.fixture
def parquet(tmp_path):
    """Writes a file with a prompt of as many words as each number says, from the role beside it if there is one."""

    def write(name, prompts):
        rows = []
        for prompt in prompts:
            words, role = prompt if isinstance(prompt, tuple) else (prompt, "user")
            rows.append(
                {
                    "data_source": "toolcall/xlam",
                    "prompt": [{"role": role, "content": "w " * words}],
                    "reward_model": {"style": "rule", "ground_truth": "[]"},
                }
            )
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
        return tmp_path / name

    return write
