"""How long the prompts are in tokens, as the model will see them: chat template applied, generation prompt included.

verl drops rows over data.max_prompt_length (verl/utils/dataset/rl_dataset.py); this says beforehand how many.
"""

import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tooln1.errors import UserError

PERCENTILES = (50, 90, 95, 99, 100)


class PromptLengths:
    """Measures the prompts of each split with the tokenizer in a Hugging Face folder."""

    def __init__(self, path: str | Path, limit: int):
        """Load the tokenizer; `limit` is a number of tokens.

        Raises:
            UserError: there is no tokenizer with a chat template at `path`.
        """
        self._path = str(path)
        self._limit = limit
        self._lengths: dict[str, array[int]] = {"train": array("I"), "test": array("I")}
        # transformers greets a machine without torch with a line of advice, and warns of texts longer than the model.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        from transformers import AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(self._path, trust_remote_code=False)
        # Whatever the loader of a foreign file raises, the user gets one line.
        except Exception as error:
            raise UserError(f"--tokenizer {path}: does not load ({type(error).__name__}: {str(error)[:160]})") from None
        if not self._tokenizer.chat_template:
            raise UserError(f"--tokenizer {path}: has no chat template; take an instruction-tuned model's")

    def add(self, split: str, batch: pa.RecordBatch) -> None:
        """Measure the prompts of a batch, or its conversations up to the last message if it has "messages"."""
        conversations = batch["prompt" if "prompt" in batch.schema.names else "messages"].to_pylist()
        if "messages" in batch.schema.names:
            conversations = [messages[:-1] for messages in conversations]
        texts = [
            self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            for messages in conversations
        ]
        encoded = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        self._lengths[split].extend(map(len, encoded))

    def as_dict(self) -> dict[str, Any]:
        """Return what stats.json says: for each split the percentiles in tokens and the rows over the limit."""
        found = {
            split: {
                **{("max" if rank == 100 else f"p{rank}"): percentile(lengths, rank) for rank in PERCENTILES},
                "over_limit": sum(length > self._limit for length in lengths),
            }
            for split, lengths in ((split, sorted(lengths)) for split, lengths in self._lengths.items())
            if lengths
        }
        return {"tokenizer": self._path, "limit": self._limit, **found}


def table_rows(found: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows of the screen's table for what `PromptLengths.as_dict` returned."""
    names = [*(f"p{rank}" for rank in PERCENTILES if rank < 100), "max", "over_limit"]
    rows = [[split, *(found[split][name] for name in names)] for split in ("train", "test") if split in found]
    return ["prompt tokens", *names[:-1], f"over {found['limit']:,}"], rows


def percentile(ordered: Sequence[int], rank: int) -> int:
    """The nearest-rank percentile: the smallest length that `rank` percent of the rows do not exceed."""
    return ordered[max(0, -(-len(ordered) * rank // 100) - 1)]
