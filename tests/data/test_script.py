"""What the scripts of data_prep/ share: work in several processes, the split, and files that appear together."""

import argparse
import errno
import json
import operator
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooln1.data import script
from tooln1.data.rows import make_row, row_schema
from tooln1.data.script import choose_test, map_batches, parse_test_size, split_rows, write_data_set
from tooln1.errors import UserError


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items_and_errors_in_their_place(workers):
    items = [*range(600), "not a number", *range(400)]
    results = map_batches(sum, iter(items), workers, 1000, "test")
    assert [next(results) for _ in range(2)] == [sum(range(250)), sum(range(250, 500))]
    with pytest.raises(TypeError):
        next(results)


def test_a_worker_that_dies_is_one_line():
    with pytest.raises(UserError, match="a worker process was killed"):
        list(map_batches(operator.methodcaller("sort", key=os._exit), range(1000), 2, 1000, "test"))


def test_a_single_batch_starts_no_process():
    assert list(map_batches(lambda batch: os.getpid(), [0], 8, 1, "test")) == [os.getpid()]


@pytest.mark.parametrize("text, expected", [("0.05", 0.05), ("1", 1), ("20", 20), (".5", 0.5)])
def test_a_test_size_is_a_fraction_or_a_number(text, expected):
    value = parse_test_size(text)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1.0", "many", "nan", "inf", ""])
def test_any_other_test_size_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="fraction between 0 and 1"):
        parse_test_size(text)


@pytest.mark.parametrize("size, expected", [(0.05, 5), (0.001, 1), (7, 7), (99, 99)])
def test_the_split_has_the_requested_size_and_follows_the_seed(size, expected):
    chosen = choose_test(range(100), size, seed=3)
    assert chosen.sum() == expected
    assert (choose_test(range(100), size, seed=3) == chosen).all()
    assert size == 99 or (choose_test(range(100), size, seed=4) != chosen).any()


@pytest.mark.parametrize("conversations, size", [([], 0.5), ([1], 0.05), ([1] * 9, 0.5), (range(5), 5), (range(5), 50)])
def test_training_keeps_at_least_one_conversation(conversations, size):
    with pytest.raises(UserError, match="nothing to train on"):
        choose_test(conversations, size, seed=0)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60).filter(lambda rows: len(set(rows)) > 1), st.data())
def test_the_size_counts_rows_and_whole_conversations_come_as_near_as_they_can(conversations, data):
    wanted = data.draw(st.integers(1, len(conversations) - 1))
    test = choose_test(conversations, wanted, seed=0)
    chosen = {number for number, is_test in zip(conversations, test, strict=True) if is_test}
    left = {number for number, is_test in zip(conversations, test, strict=True) if not is_test}
    sizes = {number: conversations.count(number) for number in chosen | left}
    assert chosen and left and not chosen & left
    if wanted < min(sizes.values()):
        assert len(chosen) == 1 and test.sum() == min(sizes.values())
    else:
        # Another conversation would not have fitted in, or the size is met.
        assert test.sum() <= wanted
        assert test.sum() == wanted or test.sum() + min(sizes[number] for number in left) > wanted


def rows(count=12):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "é"}]
    calls = [{"name": "f", "arguments": {"x": 1}}]
    common = {"data_source": "toolcall/xlam", "messages": messages, "calls": calls, "num_tools": 1}
    return [make_row(source_row=number, **common) for number in range(count)]


def write(folder, **changes):
    options = {"output": str(folder), "report": None, "tokenizer": None, "max_prompt_length": 4096, **changes}
    splits = split_rows(rows(), [number % 3 == 0 for number in range(12)])
    write_data_set(argparse.Namespace(**options), splits, row_schema(), {"seed": 0}, "the page", None)


def test_rows_are_numbered_and_files_appear_together(tmp_path):
    write(tmp_path, report="")
    assert sorted(os.listdir(tmp_path)) == ["report.md", "stats.json", "test.parquet", "train.parquet"]
    for split, count in (("train", 8), ("test", 4)):
        table = pq.read_table(tmp_path / f"{split}.parquet")
        infos = table["extra_info"].to_pylist()
        assert [info["index"] for info in infos] == list(range(count))
        assert [info["source_row"] for info in infos] == [n for n in range(12) if (n % 3 == 0) == (split == "test")]
        assert {info["split"] for info in infos} == {split}
    assert json.loads((tmp_path / "stats.json").read_text()) == {"seed": 0, "rows": {"train": 8, "test": 4}}
    assert (tmp_path / "report.md").read_text() == "the page"


@pytest.mark.parametrize("fails", ["write_table", "write_json", "write_text"])
def test_a_full_disk_is_one_line_and_leaves_the_old_files_alone(tmp_path, monkeypatch, fails):
    write(tmp_path, report="")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(script, fails, full)
    with pytest.raises(UserError, match="cannot be written .No space left"):
        write(tmp_path, report="")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="out.*: cannot be written"):
        write(tmp_path / "out")


def test_the_schema_has_the_declared_extra_fields():
    info = row_schema({"kind": pa.string()}).field("extra_info").type
    assert info.field("kind").type == pa.string()
