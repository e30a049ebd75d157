"""Counts the tokens of every prompt in parquet files: a request in JSON on stdin, the answer in JSON on stdout.

tooln1.preflight.files runs it as a process of its own:

    echo '{"model_path": "m", "files": ["a.parquet"], "limit": 512}' | python -m tooln1.preflight.lengths

The count is the one verl's data.filter_overlong_prompts arrives at (verl/utils/dataset/rl_dataset.py): of the chat
template with add_generation_prompt=True, and without special tokens besides the template's.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from tooln1.data.lengths import percentile

_BATCH = 500
RANKS = (50, 95, 99)


def measure(
    model_path: str, files: list[str], limit: int, chat_template_kwargs: dict[str, Any] | None = None
) -> dict[str, Any]:
    """For every file {"rows", "longest", "mean", "percentiles", "too_long", "refused", "refusal"}.

    Or {"error": one sentence}.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model_path, trust_remote_code=False)
    except Exception as error:  # whatever the loader of a foreign file raises, the user gets the one sentence
        return {"error": f"{model_path}: the tokenizer does not load ({_short(error)}); save it again with the model"}
    if not tokenizer.chat_template:
        return {
            "error": f"{model_path}: the tokenizer has no chat template; "
            "take an instruction-tuned model, or add a chat_template.jinja beside the tokenizer"
        }
    return {"files": [_measure_file(tokenizer, path, limit, chat_template_kwargs or {}) for path in files]}


def _measure_file(tokenizer: Any, path: str, limit: int, options: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"rows": 0, "too_long": [], "refused": [], "refusal": ""}
    every: list[int] = []
    for prompts in _prompts(path):
        numbers, texts = [], []
        for number, prompt in enumerate(prompts, start=found["rows"]):
            try:
                text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False, **options)
            except Exception as error:  # verl drops a row for any exception out of the template
                found["refused"].append(number)
                found["refusal"] = found["refusal"] or f"row {number}: {_short(error)}"
                continue
            numbers.append(number)
            texts.append(text)
        lengths = _count(tokenizer, texts)
        found["too_long"] += [number for number, length in zip(numbers, lengths, strict=True) if length > limit]
        found["rows"] += len(prompts)
        every += lengths
    every.sort()
    found["longest"] = every[-1] if every else 0
    found["mean"] = sum(every) / max(len(every), 1)
    found["percentiles"] = {rank: percentile(every, rank) for rank in RANKS if every}
    return found


def _prompts(path: str) -> Iterator[list[list[dict]]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH, columns=["prompt"]):
            yield batch["prompt"].to_pylist()


def _count(tokenizer: Any, texts: list[str]) -> list[int]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not texts or backend is None:
        return [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    # Seven times as fast as calling the tokenizer, which also works out every token's place in the text. It honours
    # what tokenizer.json says about truncation, though; verl's call does not.
    backend.no_truncation()
    backend.no_padding()
    return [len(encoding) for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


if __name__ == "__main__":
    # transformers imports torch for any tokenizer, if it finds it.
    sys.modules["torch"] = None  # type: ignore[assignment]
    print(json.dumps(measure(**json.load(sys.stdin))))
