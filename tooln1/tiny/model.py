"""Builds the tiny tokenizer and the tiny Qwen2 model, untrained, as a Hugging Face folder.

    python -m tooln1.tiny.model --output runs/tiny/model --seed 0

The same seed gives the same bytes. The tokenizer is a byte-level BPE with Qwen2's splitting rule and, like Qwen2.5's,
with <tool_call> and </tool_call> as single tokens. A training step takes a second on two cores. The initialisation lets
the model learn to copy in hundreds of steps instead of thousands: attention starts by finding equal tokens and passing
them on ("mimetic initialization", arXiv 2305.09828).
"""

import argparse
import math
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.utils.logging import disable_progress_bar

from tooln1.prompt import TOOLS_MARK
from tooln1.reward_score.toolcall import CALL, END_CALL, END_THINK, THINK
from tooln1.tiny.rows import load_compact_template, sample_texts

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = (CALL, END_CALL, THINK, END_THINK)

# Punctuation of prompts and calls as single tokens: a quarter of the length, and of the time of a step.
PIECES = (
    'system\n<tools>\n{"name": "',
    "user\n",
    "assistant\n",
    "tool\n",
    '{"name": "',
    '"}}}}\n{"name": "',
    '"}}}}\n',
    '", "description": "", "parameters": {"type": "object", "properties": {"',
    '": {"type": "',
    '"}, "',
    '"}}}}',
    '[{"name": "',
    '", "arguments": {"',
    '": ',
    '": "',
    '": ["',
    '", "',
    ', "',
    '"}}]',
    "}}]",
    '"]}}]',
    '"}}, {"name": "',
    '}}, {"name": "',
    '"]}}, {"name": "',
)

# Qwen2's own rule (tokenizer.json of Qwen/Qwen2.5-7B-Instruct): letters with one leading sign, single digits, signs.
# transformers sets it for every model of type qwen2, regardless of the file.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

SIZES = {
    "hidden_size": 192,
    "num_hidden_layers": 3,
    "intermediate_size": 512,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 8192,
}


def train_tokenizer(texts: Iterable[str], instruction: str, vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most ``vocab_size`` tokens, trained on ``texts``, with a Qwen2-style chat template.

    ``instruction`` is what every prompt says after the tool list: one token.
    """
    whole = (*TAGS, *PIECES, instruction)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(whole),
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_without(whole, texts), trainer)
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in whole])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = files("tooln1.tiny").joinpath("chat_template.jinja").read_text(encoding="utf-8")
    return fast


def _without(whole: Iterable[str], texts: Iterable[str]) -> Iterable[str]:
    """Yield the texts without the tokens that never reach the BPE: they must not earn merges."""
    pattern = re.compile("|".join(map(re.escape, sorted(whole, key=len, reverse=True))))
    for text in texts:
        yield from pattern.split(text)


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen2ForCausalLM:
    """Return an untrained Qwen2 with tied embeddings in float32, about 1.5 million parameters."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SIZES,
    )
    model = Qwen2ForCausalLM(config)
    threads = torch.get_num_threads()
    # How a decomposition rounds depends on how many threads share it; the same seed must give the same bytes.
    torch.set_num_threads(1)
    with torch.no_grad():
        # Unit-length rows: what attention copies into the residual stream then reaches the tied output at full scale.
        model.model.embed_tokens.weight.normal_(std=config.hidden_size**-0.5)
        for layer in model.model.layers:
            _start_attention_copying(layer.self_attn, config)
    torch.set_num_threads(threads)
    return model


def _start_attention_copying(attention, config: Qwen2Config) -> None:
    """Give every head matching queries and keys, and an output that undoes its value projection."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    size, shared = hidden // heads, heads // config.num_key_value_heads
    for index in range(config.num_key_value_heads):
        rows = slice(index * size, (index + 1) * size)
        key = torch.randn(size, hidden) / math.sqrt(hidden)
        value = torch.linalg.qr(torch.randn(hidden, size))[0].T
        attention.k_proj.weight[rows] = key
        attention.v_proj.weight[rows] = 0.7 * value
        for head in range(index * shared, (index + 1) * shared):
            rows = slice(head * size, (head + 1) * size)
            attention.q_proj.weight[rows] = (key + torch.randn(size, hidden) / math.sqrt(hidden)) / 2
            attention.o_proj.weight[:, rows] = 0.7 * value.T / math.sqrt(shared)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to write the model and the tokenizer to")
    parser.add_argument("--seed", type=int, default=0, help="decides the weights and the tokenizer's sample texts")
    arguments = parser.parse_args(argv)
    instruction = load_compact_template().split(TOOLS_MARK)[1].strip()
    tokenizer = train_tokenizer(sample_texts(arguments.seed), instruction)
    model = build_model(tokenizer, arguments.seed)
    disable_progress_bar()
    model.save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    print(f"{arguments.output}: {model.num_parameters() / 1e6:.1f} million parameters, {len(tokenizer)} tokens")


if __name__ == "__main__":
    main()
