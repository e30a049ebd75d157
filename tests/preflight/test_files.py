"""Rows fewer than a batch are refused, and prompts are counted as verl counts them: in the model's own tokens."""

import pytest

from tooln1.errors import UserError
from tooln1.preflight import files
from tooln1.preflight.files import check_files, check_prompt_lengths


def count(model, train, val, *, batch=1, options=None):
    return check_prompt_lengths(
        model, train, val, train_batch_size=batch, max_prompt_length=10, chat_template_kwargs=options, offline=True
    )


def test_rows_are_checked_and_counted(parquet, tmp_path):
    train, val = parquet("train.parquet", [1] * 4), parquet("val.parquet", [1])
    assert check_files(train, val, 4) == (4, 1)
    with pytest.raises(UserError, match=r"train\.parquet: 4 rows, fewer than the 5 of one batch; .* train_batch_size"):
        check_files(train, val, 5)
    with pytest.raises(UserError, match=r"none\.parquet: no such file"):
        check_files(train, tmp_path / "none.parquet", 4)


def test_prompts_longer_than_the_limit_are_counted_and_named(parquet, model):
    # The template adds two tokens to the words: 8 words are 10 tokens. Row 700 lies in the second batch that is read.
    words = [1, 8, 9, 30] + [8] * 696 + [9]
    train, val = count(model, parquet("train.parquet", words), parquet("val.parquet", [3, 8]), batch=698)
    assert (train.rows, train.too_long, train.longest, train.kept) == (701, (2, 3, 700), 32, 698)
    assert train.note.endswith(
        "train.parquet: verl drops 3 of 701 prompts: 3 longer than 10 tokens (rows 2, 3, 700; the longest has 32)"
    )
    assert (val.rows, val.dropped, val.longest, val.note) == (2, 0, 10, "")


def test_the_mean_and_the_percentiles_are_lengths_in_tokens(parquet, model):
    # 1 to 100 words, in another order than by length: by nearest rank, 95 of 100 prompts have at most 95 words.
    train, val = count(model, parquet("train.parquet", [*range(51, 101), *range(1, 51)]), parquet("val.parquet", [3]))
    assert train.percentiles == {50: 52, 95: 97, 99: 101}
    assert train.mean == 52.5
    assert (val.percentiles, val.mean) == ({50: 5, 95: 5, 99: 5}, 5.0)


def test_the_template_gets_its_options_and_may_refuse_a_prompt(parquet, model):
    # "@ @ a b" and 6 words are 10 tokens; messages of a tool are refused.
    train = parquet("train.parquet", [(1, "tool"), 6, 7])
    train, _ = count(model, train, parquet("val.parquet", [1]), options={"extra": "a b"})
    assert (train.too_long, train.refused, train.refusal) == ((2,), (0,), "row 0: no tools here")
    assert "verl drops 2 of 3 prompts: 1 longer than 10 tokens (row 2; the longest has 11)" in train.note
    assert train.note.endswith("1 refused by the chat template (row 0)")


def test_a_model_without_a_chat_template_is_refused(parquet, model):
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(UserError, match=r"model: the tokenizer has no chat template; take an instruction-tuned model"):
        count(model, parquet("train.parquet", [1]), parquet("val.parquet", [1]))


NONE = {"rows": 20, "mean": 0, "percentiles": {}, "too_long": [], "refused": [], "refusal": ""}
FULL = {**NONE, "longest": 9}
LONG = {**NONE, "longest": 90, "too_long": list(range(5))}
TOO_LONG = {**NONE, "longest": 90, "too_long": list(range(20))}
REFUSED = {**NONE, "longest": 0, "refused": list(range(20)), "refusal": "row 0: no tools here"}


@pytest.mark.parametrize(
    "train, val, expected",
    [
        (LONG, FULL, "train: of 20 prompts only 15 fit into 10 tokens (the longest has 90), and one training batch"),
        (FULL, TOO_LONG, "val: of 20 prompts only 0 fit into 10 tokens (the longest has 90), and validation takes"),
        (FULL, REFUSED, "m: the chat template refuses the prompts of val (row 0: no tools here); take"),
    ],
)
def test_too_few_prompts_left_is_an_error(train, val, expected, monkeypatch):
    monkeypatch.setattr(files, "_measure", lambda request, offline: [train, val])
    with pytest.raises(UserError) as error:
        count("m", "train", "val", batch=16)
    assert expected in str(error.value)


def test_many_rows_are_named_by_the_first_few():
    lengths = files.PromptLengths("f", 20, 10, 90, tuple(range(7)), (), "")
    assert "(rows 0, 1, 2, 3, 4, …; the longest" in lengths.note
