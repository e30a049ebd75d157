"""The whole check: the first wrong thing is one line, and the tokenizer is started only when all else is right."""

import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tooln1.preflight as preflight
from tooln1.errors import UserError
from tooln1.preflight import RunSettings, check_run


@pytest.fixture
def settings(parquet, model, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "check_versions", lambda: None)  # the suite also runs beside other versions
    return RunSettings(
        run_dir=tmp_path / "run",
        model_path=model,
        train_file=parquet("train.parquet", [1, 9, 1]),
        val_file=parquet("val.parquet", [1]),
        train_batch_size=2,
        max_prompt_length=10,
        max_response_length=54,
        memory_gb=0.01,
        disk_gb=0.0,
        shared_memory_gb=0.0,
        offline=True,
    )


def test_a_good_run_passes_and_says_what_is_dropped(settings):
    checked = check_run(settings)
    assert (checked.train.kept, checked.val.kept) == (2, 1)
    assert checked.notes == (checked.train.note,)
    assert "verl drops 1 of 3 prompts" in checked.notes[0]


def without(path, column):
    pq.write_table(pq.read_table(path).drop_columns(column), path)


def with_truth(path, truth):
    rows = pq.read_table(path).to_pylist()
    rows[1]["reward_model"]["ground_truth"] = truth
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    "spoil, changes, expected",
    [
        (lambda s: s.train_file.unlink(), {}, "train.parquet: no such file"),
        (lambda s: s.val_file.write_bytes(b""), {}, "val.parquet: the file is empty"),
        (lambda s: s.val_file.write_text("text"), {}, "val.parquet: not a readable parquet file"),
        (lambda s: pq.write_table(pq.read_table(s.val_file).slice(0, 0), s.val_file), {}, "the file has no rows"),
        (lambda s: without(s.train_file, "reward_model"), {}, "train.parquet: column reward_model: missing"),
        (lambda s: with_truth(s.train_file, "f(x)"), {}, "row 1: reward_model.ground_truth: expected a JSON list"),
        (None, {"train_batch_size": 4}, "3 rows, fewer than the 4 of one batch"),
        (lambda s: (s.model_path / "config.json").unlink(), {}, "model: no config.json"),
        (None, {"max_response_length": 55}, "is 64, fewer than the 65 tokens"),
        (None, {"memory_gb": 1e6}, "GB available"),
        (None, {"disk_gb": 1e6}, "GB free on this disk"),
        (None, {"shared_memory_gb": 1e6}, "/dev/shm: "),
    ],
)
def test_one_line_says_what_is_wrong_before_the_tokenizer_starts(settings, spoil, changes, expected, monkeypatch):
    monkeypatch.setattr(preflight, "check_prompt_lengths", lambda *args, **kwargs: pytest.fail("too early"))
    if spoil:
        spoil(settings)
    with pytest.raises(UserError) as error:
        check_run(dataclasses.replace(settings, **changes))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_too_many_long_prompts_are_refused(settings, parquet):
    with pytest.raises(UserError, match="only 1 fit into 10 tokens .* one training batch takes at least 2"):
        check_run(dataclasses.replace(settings, train_file=parquet("train.parquet", [1, 9, 9])))


@pytest.mark.parametrize("value, offline", [("1", True), ("true", True), ("0", False), (None, False)])
def test_the_environment_can_switch_the_hub_off(value, offline, monkeypatch):
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if value is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert preflight.hub_is_offline() is offline
