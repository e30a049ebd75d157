"""Reading: every way a file can be written gives the same rows, and every way it can be broken gives one line."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tooln1.data import sources
from tooln1.data.errors import DataError
from tooln1.data.sources import open_source

ROWS = [{"a": 1, "text": "é 🎉 [{"}, {"a": 2, "text": '"quoted" \\ \n' + "x" * 50}, {"a": 3, "text": ""}]


def rows_of(path):
    passed = []
    source = open_source(path, "some/data")
    rows = list(source.read(passed.append))
    assert sum(passed) == source.total
    return rows


@pytest.fixture(params=[1, 7, 64, 1 << 20])
def chunk(request, monkeypatch):
    monkeypatch.setattr(sources, "_CHUNK", request.param)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_json_array_is_read_in_pieces_of_any_size(tmp_path, chunk, indent, encoding):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS, indent=indent, ensure_ascii=False) + "\n", encoding=encoding)
    assert rows_of(path) == ROWS


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_json_lines_are_read_under_either_name(tmp_path, name):
    path = tmp_path / name
    path.write_text("\n\n".join(json.dumps(row) for row in ROWS))
    source = open_source(path, "some/data")
    assert list(source.read(lambda passed: None)) == ROWS


def test_parquet_is_read(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    assert rows_of(path) == ROWS


def test_an_empty_array_has_no_rows(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(" [ ] ")
    assert list(open_source(path, "some/data").read(lambda passed: None)) == []


@pytest.mark.parametrize(
    "content, message",
    [
        (b'[{"a": 1}, {"a": ', "row 1: broken JSON .*cut"),
        (b'[{"a": 1}, {"a": "x', "row 1: broken JSON .*cut"),
        (b'[{"a": 1}', "row 1: .*the file ends"),
        (b'[{"a": 1} {"a": 2}]', "row 1: expected a comma"),
        (b'[{"a": 1}, {a: 2}' + b" " * 40 + b"]", "row 1: broken JSON"),
        (b'[{"a": 1}] more', "row 1: text follows"),
        (b'[{"a": 1}, ' + b"[" * 100_000, "row 1: "),
        (b'[{"a": "\xe9\xe9"}]', "row 0: not UTF-8"),
        ('[{"a": 1}]'.encode("utf-16"), "row 0: not UTF-8"),
        (b'"text"', "starts with .*; expected a JSON array"),
    ],
)
def test_broken_json_is_one_line_with_file_and_row(tmp_path, content, message):
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"rows\.json: {message}") as error:
        list(open_source(path, "some/data").read(lambda passed: None))
    assert "\n" not in str(error.value)


def test_a_broken_line_does_not_stop_the_others(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n\xff\xff\n{"a": 2}\n')
    first, cut, binary, last = open_source(path, "some/data").read(lambda passed: None)
    assert (first, last) == ({"a": 1}, {"a": 2})
    assert isinstance(cut, DataError) and "line 2: broken JSON" in str(cut)
    assert isinstance(binary, DataError) and "line 3: not UTF-8" in str(binary)


@pytest.mark.parametrize("name", ["missing.json", "empty.json", "folder", "rows.csv", "broken.parquet"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / "empty.json").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "rows.csv").write_text("a,b")
    (tmp_path / "broken.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=name) as error:
        open_source(tmp_path / name, "some/data")
    assert "\n" not in str(error.value)


def test_an_unreachable_hub_is_one_line(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def fail(*args, **kwargs):
        raise ConnectionError("first line\nsecond line")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=r"some/data: cannot be loaded .*first line second line.*--input") as error:
        open_source(None, "some/data")
    assert "\n" not in str(error.value)


def test_the_hub_is_only_needed_without_a_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    assert rows_of(path) == ROWS
