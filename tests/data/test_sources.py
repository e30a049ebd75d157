"""Reading: every kind of file gives the same rows, and every way it can be broken gives one line."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tooln1.data.sources import open_source
from tooln1.errors import UserError

ROWS = [{"a": 1, "text": "é 🎉 [{"}, {"a": 2, "text": '"quoted" \\ \n' + "x" * 50}, {"a": 3, "text": ""}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_read(tmp_path, encoding, indent):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS, indent=indent, ensure_ascii=False), encoding=encoding)
    source = open_source(path, "some/data")
    assert (list(source.rows), source.total) == (ROWS, 3)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_json_lines_are_read_under_either_name(tmp_path, name):
    path = tmp_path / name
    path.write_text("\n\n".join(json.dumps(row) for row in ROWS))
    assert list(open_source(path, "some/data").rows) == ROWS


def test_parquet_is_read(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    source = open_source(path, "some/data")
    assert (list(source.rows), source.total) == (ROWS, 3)


def test_numbers_and_half_characters_are_read_as_they_are(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 12345678901234567890123, "b": "\\ud83d"}]')
    assert list(open_source(path, "some/data").rows) == [{"a": 12345678901234567890123, "b": "\ud83d"}]


def test_a_broken_line_does_not_stop_the_others(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n\xff\xff\n{"a": 2}\n')
    first, cut, binary, last = open_source(path, "some/data").rows
    assert (first, last) == ({"a": 1}, {"a": 2})
    assert isinstance(cut, UserError) and "line 2: broken JSON" in str(cut)
    assert isinstance(binary, UserError) and "line 3: not UTF-8" in str(binary)


@pytest.mark.parametrize(
    "content, message",
    [
        (b'[{"a": 1}, {"a": ', "broken JSON .*cut"),
        (b'[{"a": 1} {"a": 2}]', "broken JSON .*delimiter: line 1 column 11"),
        (b'[{"a": 1}] more', "broken JSON .*Extra data"),
        (b"[" * 100_000, "broken JSON .*recursion"),
        (b'[{"a": "\xe9\xe9"}]', "not UTF-8"),
        (b'"text"', "expected a JSON array of rows, or one object a line, found str"),
    ],
)
def test_a_broken_array_is_one_line(tmp_path, content, message):
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"rows\.json: {message}"):
        open_source(path, "some/data")


@pytest.mark.parametrize("name", ["missing.json", "empty.json", "folder", "rows.csv", "broken.parquet"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / "empty.json").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "rows.csv").write_text("a,b")
    (tmp_path / "broken.parquet").write_text("no parquet")
    with pytest.raises(UserError, match=name) as error:
        open_source(tmp_path / name, "some/data")
    assert "\n" not in str(error.value)


def test_an_unreachable_hub_is_one_line(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def fail(*args, **kwargs):
        raise ConnectionError("first line\nsecond line")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=r"some/data: cannot be loaded .*first line second line.*--input") as error:
        open_source(None, "some/data")
    assert "\n" not in str(error.value)


def test_the_hub_is_only_needed_without_a_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    assert list(open_source(path, "some/data").rows) == ROWS


def test_a_gated_data_set_says_what_to_accept_and_how_to_log_in(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def refuse(*args, **kwargs):
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub. Visit the page.")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    message = r"a/b: is gated .*accept its terms at https://huggingface.co/datasets/a/b .*hf auth login.*--input"
    with pytest.raises(UserError, match=message):
        open_source(None, "a/b")


def test_a_data_set_is_loaded_the_way_the_hub_offers_it(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "data.json").write_text(json.dumps(ROWS))
    source = open_source(None, str(tmp_path / "hub"))
    assert (list(source.rows), source.total) == (ROWS, 3)


def test_a_damaged_parquet_file_ends_with_an_error_in_the_place_of_a_row(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([{"a": "x" * 100 + str(number)} for number in range(5000)]), path)
    data = bytearray(path.read_bytes())
    data[200:4000] = b"\xff" * 3800
    path.write_bytes(data)
    *_, last = open_source(path, "some/data").rows
    assert isinstance(last, UserError) and "damaged" in str(last)
