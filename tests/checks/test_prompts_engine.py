"""Prompts are rendered and counted as verl does, and what a chat template says of the reasoning is told."""

import re

import pytest

from tooln1.chat_template import load_tokenizer
from tooln1.checks import prompts
from tooln1.checks.findings import FAULT, OK, WARNING
from tooln1.checks.prompts import PromptTokens, check_prompt_tokens, check_prompts, count_tokens
from tooln1.reward_score import toolcall


def test_the_chat_template_is_applied_and_may_refuse_a_prompt(model, parquet, make):
    # Two tokens of the template, its option "a b", and the words; the fourth row is in the second batch that is read.
    run = make(changes={"data.apply_chat_template_kwargs": {"extra": "a b"}}, tokenizer=load_tokenizer(model))
    first = count_tokens(run, parquet("first.parquet", [1, "nonsense", 6, *[1] * 499, 7]))
    assert first.lengths == [5, None, 10, *[5] * 499, 11]
    assert first.refusal == "row 1: no"
    assert count_tokens(run, parquet("second.parquet", [3])) == ([7], "")


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
        ([1] * 20, [None], FAULT, r"data\.val_files: no prompt is left to validate with"),
    ],
)
def test_what_verl_drops_is_said(train, val, severity, expected, make, monkeypatch):
    lengths = {"train": list(train), "val": val}
    monkeypatch.setattr(prompts, "count_tokens", lambda run, path: PromptTokens(lengths[path], "row 19: no"))
    files = {"train_files": ["train"], "val_files": ["val"], "rows": len(train), "val_rows": 1}
    run = make("tool_n1_grpo_cpu", tokenizer="t", **files)
    found = list(check_prompt_tokens(run))
    assert [one for one in found if one.severity == severity and re.search(expected, one.message)], found
    assert run.rows == sum(1 for length in train if length and length <= 320)


CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: "


@pytest.mark.parametrize(
    "start, opens, findings",
    [
        ("", False, []),
        ("<think>\n", True, [(OK, "the prompts end with an open <think>: responses are read as beginning inside")]),
        ("<think>\n\n</think>\n\n", False, [(WARNING, "the prompts end with </think>, as if the model had reasoned")]),
    ],
)
def test_the_reward_learns_what_the_template_says_of_the_reasoning(start, opens, findings, make, tiny_model, tiny_data):
    template = f"{CHAT}{start}{{% endif %}}"
    files = {
        name: [str(tiny_data / f"{split}.parquet")] for name, split in (("train_files", "train"), ("val_files", "test"))
    }
    changes = {"actor_rollout_ref.model.custom_chat_template": template}
    run = make("tool_n1_grpo_cpu", changes, whole_model=str(tiny_model), rows=300, val_rows=70, **files)
    scored = []
    run.reward = lambda **given: scored.append(toolcall.compute_score(**given)) or scored[-1]
    found = [one for one in check_prompts(run) if not one.is_conclusion]
    assert [
        (one.severity, one.message[: len(text)]) for one, (_, text) in zip(found, findings, strict=True)
    ] == findings
    assert run.opens_think is opens and scored and all(score["acc"] == 1 for score in scored)


def test_a_reward_of_the_users_own_is_told_what_its_responses_lack(make, tiny_model, tiny_data):
    changes = {
        "actor_rollout_ref.model.custom_chat_template": f"{CHAT}<think>{{% endif %}}",
        "reward.custom_reward_function.path": "mine.py",
    }
    files = {"train_files": [str(tiny_data / "train.parquet")], "val_files": [str(tiny_data / "test.parquet")]}
    run = make("tool_n1_grpo_cpu", changes, whole_model=str(tiny_model), rows=300, val_rows=70, **files)
    run.reward = lambda data_source, solution_str, ground_truth, extra_info: 0.0
    first, second = [one for one in check_prompts(run) if one.severity == WARNING]
    assert first.message.startswith("the prompts end with an open <think>: the responses that your reward gets")
    assert "the response with the right calls scores 0.0" in second.message
