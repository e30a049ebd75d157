"""Answers a few prompts with a checkpoint, through vLLM, and scores the replies.

VERL_PLATFORM=cpu python -m tooln1.tiny.generate CHECKPOINT PARQUET --count 7 --output replies.jsonl
"""

import argparse
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from tooln1.files import atomic_path
from tooln1.reward_score.toolcall import compute_score


def generate(checkpoint: Path, rows: Iterable[dict], count: int, max_tokens: int, max_model_len: int) -> list[dict]:
    """Greedy replies to the first ``count`` of ``rows`` whose prompts leave room for them, with their scores."""
    # In this process: starting vLLM's engine and worker as processes of their own would take longer than the answers.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from vllm import LLM, SamplingParams

    llm = LLM(
        model=str(checkpoint),
        dtype="float32",
        enforce_eager=True,
        max_num_seqs=count,
        kv_cache_memory_bytes=256 << 20,
        max_model_len=max_model_len,
    )
    tokenizer = llm.get_tokenizer()
    kept = []
    for row in rows:
        text = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(prompt) + max_tokens <= max_model_len:
            kept.append((row, {"prompt_token_ids": prompt}))
        if len(kept) == count:
            break
    sampling = SamplingParams(temperature=0, max_tokens=max_tokens, skip_special_tokens=True)
    outputs = llm.generate([prompt for _, prompt in kept], sampling, use_tqdm=False) if kept else []
    replies = []
    for (row, _), output in zip(kept, outputs, strict=True):
        text, reference = output.outputs[0].text, row["reward_model"]["ground_truth"]
        score = compute_score(row["data_source"], text, reference, row.get("extra_info"))
        replies.append(
            {"query": row["prompt"][-1]["content"], "reply": text, "reference": reference, "reward": score["score"]}
        )
    return replies


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="a Hugging Face folder, for instance a merged checkpoint")
    parser.add_argument("parquet", type=Path, help="rows in the project's schema")
    parser.add_argument("--count", type=int, default=7, help="answer the first COUNT rows (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=96, help="longest reply (default: %(default)s)")
    parser.add_argument(
        "--max-model-len", type=int, default=512, help="longest prompt and reply together (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, required=True, help="where to write the replies, as JSON Lines")
    arguments = parser.parse_args()
    rows = pq.read_table(arguments.parquet).to_pylist()
    replies = generate(arguments.checkpoint, rows, arguments.count, arguments.max_tokens, arguments.max_model_len)
    with atomic_path(arguments.output) as temporary:
        temporary.write_text("".join(json.dumps(reply, ensure_ascii=False) + "\n" for reply in replies))


if __name__ == "__main__":
    main()
