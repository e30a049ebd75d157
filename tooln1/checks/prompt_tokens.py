"""Counts the tokens of every prompt in parquet files, as verl's data.filter_overlong_prompts does.

verl (verl/utils/dataset/rl_dataset.py) takes the chat template with add_generation_prompt=True, and no special tokens
besides the template's. The counting runs in a child process, without torch, whose import takes 4 s:

    echo '{"model": "m", "files": ["a.parquet"], "options": {}}' | python -m tooln1.checks.prompt_tokens
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from tooln1.errors import UserError
from tooln1.files import one_line

_BATCH = 500


class PromptTokens(NamedTuple):
    """The prompts of one file."""

    lengths: list[int | None]  # in tokens, row by row; None for a prompt that the chat template refuses
    refusal: str  # what the chat template says about the first prompt that it refuses


def count_prompt_tokens(
    model: str, files: Sequence[str], options: Mapping[str, Any] | None = None
) -> list[PromptTokens]:
    """Count the prompts of the files; ``options`` are data.apply_chat_template_kwargs.

    Raises:
        UserError: the tokenizer or its chat template does not work.
    """
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true", "TRANSFORMERS_VERBOSITY": "error"}
    environment.pop("VERL_PLATFORM", None)  # the CPU platform would import torch
    child = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps({"model": model, "files": list(files), "options": dict(options or {})}),
        capture_output=True,
        text=True,
        env=environment,
    )
    lines = child.stdout.splitlines()
    if child.returncode != 0 or not lines:
        reason = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{model}: counting the prompts' tokens failed with exit code {child.returncode}: {reason}")
    answer = json.loads(lines[-1])
    if "error" in answer:
        raise UserError(answer["error"])
    return [PromptTokens(**counted) for counted in answer["files"]]


def _count(model: str, files: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """In the child: {"files": the fields of PromptTokens for each}, or {"error": one sentence}."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except Exception as error:  # of any class, since tokenizers have many loaders
        return {"error": f"{model}: the tokenizer does not load ({one_line(error, 160)}); save it again with the model"}
    if not tokenizer.chat_template:
        return {
            "error": f"{model}: the tokenizer has no chat template; take an instruction-tuned model, or add a "
            f"chat_template.jinja beside the tokenizer"
        }
    return {"files": [_count_file(tokenizer, path, options) for path in files]}


def _count_file(tokenizer: Any, path: str, options: dict[str, Any]) -> dict[str, Any]:
    lengths: list[int | None] = []
    refusal = ""
    for prompts in _prompts(path):
        texts = {}
        for row, prompt in enumerate(prompts, start=len(lengths)):
            try:
                texts[row] = tokenizer.apply_chat_template(
                    prompt, add_generation_prompt=True, tokenize=False, **options
                )
            except Exception as error:  # verl drops a row for any exception of the template
                refusal = refusal or f"row {row}: {one_line(error, 160)}"
        lengths += [None] * len(prompts)
        for row, length in zip(texts, _token_counts(tokenizer, list(texts.values())), strict=True):
            lengths[row] = length
    return {"lengths": lengths, "refusal": refusal}


def _prompts(path: str) -> Iterator[list[list[dict]]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH, columns=["prompt"]):
            yield batch["prompt"].to_pylist()


def _token_counts(tokenizer: Any, texts: list[str]) -> list[int]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not texts or backend is None:
        return [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    # Seven times as fast as calling the tokenizer, which also works out each token's place in the text. Unlike verl's
    # call, the backend obeys a truncation in tokenizer.json.
    backend.no_truncation()
    backend.no_padding()
    return [len(encoding) for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


if __name__ == "__main__":
    # transformers imports torch for any tokenizer, if it finds it.
    sys.modules["torch"] = None  # type: ignore[assignment]
    print(json.dumps(_count(**json.load(sys.stdin))))
