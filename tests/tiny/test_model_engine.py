"""The tiny model's folder: the same bytes for the same seed, and a tokenizer that transformers reads back rightly."""

import json
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tooln1.tiny.model import main


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_seed_gives_the_same_bytes_in_another_process(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")  # sets of strings come in another order there
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-m", "tooln1.tiny.model", "--output", str(tmp_path / "again"), "--seed", "0"]
    subprocess.run(command, check=True, capture_output=True)
    again = files(tmp_path / "again")
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= set(again)
    assert again == files(tiny_model)


def test_another_seed_gives_other_weights(tiny_model, tmp_path):
    main(["--output", str(tmp_path), "--seed", "1"])
    assert files(tmp_path)["model.safetensors"] != files(tiny_model)["model.safetensors"]


def test_the_model_is_a_qwen2_of_one_to_four_million_parameters(tiny_model, tokenizer):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert type(model).__name__ == "Qwen2ForCausalLM"
    assert 1_000_000 <= model.num_parameters() <= 4_000_000
    assert model.config.vocab_size == len(tokenizer)
    assert {str(parameter.dtype) for parameter in model.parameters()} == {"torch.float32"}


@pytest.mark.parametrize("tag", ["<tool_call>", "</tool_call>", "<think>", "</think>"])
def test_a_tag_is_one_token_that_decoding_keeps(tag, tokenizer):
    ids = tokenizer(f"a{tag}b", add_special_tokens=False)["input_ids"]
    assert ids.count(tokenizer.convert_tokens_to_ids(tag)) == 1
    # vLLM and verl both decode responses this way before the reward sees them.
    assert tokenizer.decode(ids, skip_special_tokens=True) == f"a{tag}b"


def test_the_turn_marks_are_special_and_end_a_reply(tokenizer):
    ids = tokenizer("a<|im_end|><|endoftext|>", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a"
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


@settings(max_examples=300, deadline=None)
@given(st.text())
@example("Straße  \t\r\n\u2028 naïve 你好 🎉\ufeff\x00")
@example('[{"name": "f", "arguments": {"a": ["b", ""]}}]')
@example("<|im_start|>user\n<tool_call></think>")
def test_any_text_survives_encoding_and_decoding(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    # Qwen2's tokenizer composes characters (NFC) before anything else, so é of two code points comes back as one.
    assert tokenizer.decode(ids) == tokenizer.backend_tokenizer.normalizer.normalize_str(text)


def test_the_chat_template_renders_like_qwen2s(tokenizer):
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "<tool_call>[]</tool_call>"},
        {"role": "tool", "content": "t"},
    ]
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    assert tokenizer.apply_chat_template(messages, tokenize=False) == turns
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt == turns + "<|im_start|>assistant\n"


def test_prompts_and_responses_fit_the_limits_of_the_recipe(tokenizer, tiny_data):
    import pyarrow.parquet as pq

    from tooln1.config import compose
    from tooln1.prompt import format_response

    limits = compose("tool_n1_grpo_cpu").data
    for row in pq.read_table(tiny_data / "test.parquet").to_pylist():
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
        assert len(tokenizer(prompt)["input_ids"]) <= limits.max_prompt_length
        response = format_response(json.loads(row["reward_model"]["ground_truth"]), "no tool fits, so there is no call")
        assert len(tokenizer(response)["input_ids"]) < limits.max_response_length
