"""Prompts are counted as verl counts them: in the model's own tokens, without torch."""

import re

import pytest

from tooln1.checks.data_files import check_prompt_tokens
from tooln1.checks.findings import FAULT, OK, WARNING
from tooln1.checks.prompt_tokens import PromptTokens, count_prompt_tokens


def test_the_chat_template_is_applied_and_may_refuse_a_prompt(model, parquet):
    # Two tokens of the template, its option "a b", and the words; the fourth row is in the second batch that is read.
    first = parquet("first.parquet", [1, "nonsense", 6, *[1] * 499, 7])
    one, two = count_prompt_tokens(str(model), [str(first), str(parquet("second.parquet", [3]))], {"extra": "a b"})
    assert one.lengths == [5, None, 10, *[5] * 499, 11]
    assert one.refusal == "row 1: no"
    assert (two.lengths, two.refusal) == ([7], "")


@pytest.mark.parametrize(
    "train, val, severity, expected",
    [
        # By nearest rank, 95 of 100 prompts have at most 95 tokens.
        (range(1, 101), [1], OK, r"train: 100 rows, prompt tokens p50 50, p95 95, p99 99, longest 100 of 320$"),
        ([1] * 99 + [400], [1], OK, r"train: verl drops 1 of 100 prompts: 1 longer than 320 tokens, row 99; prompt"),
        ([1] * 16 + [400] * 7, [1], WARNING, r"7 longer than 320 tokens, rows 16, 17, 18, 19, 20, …; .*; raise data"),
        ([1] * 19 + [None], [1], OK, r"1 refused by the chat template \(row 19: no\), row 19; prompt tokens"),
        ([1] * 15 + [400] * 5, [1], FAULT, r"data\.train_files: 15 rows that fit, fewer than .*=16 of one batch"),
        ([1] * 20, [400], FAULT, r"data\.val_files: no prompt is left to validate with"),
        ([1] * 20, [None], FAULT, r"val: the chat template refuses every prompt \(row 19: no\); take an instruction"),
    ],
)
def test_what_verl_drops_is_said(train, val, severity, expected, make, monkeypatch):
    answer = [PromptTokens(list(lengths), "row 19: no") for lengths in (train, val)]
    monkeypatch.setattr("tooln1.checks.data_files.count_prompt_tokens", lambda *_: answer)
    files = {"train_files": ["train"], "val_files": ["val"], "rows": len(train), "val_rows": 1}
    run = make("tool_n1_grpo_cpu", whole_model="m", **files)
    found = list(check_prompt_tokens(run))
    assert [one for one in found if one.severity == severity and re.search(expected, one.message)], found
    assert run.rows == sum(1 for length in train if length and length <= 320)
