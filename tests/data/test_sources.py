"""Reading: every kind of file gives the same rows, and every way it can be broken gives one line."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tooln1.data.sources import decode_row, open_sources
from tooln1.errors import UserError


def read(*paths):
    """Return the rows of these inputs, and about how many there are."""
    source = open_sources(paths)
    return [decoded(row) for _, row in source.rows], source.total


def decoded(row):
    try:
        return decode_row(row)
    except UserError as error:
        return error


ROWS = [{"a": 1, "text": "é 🎉 [{"}, {"a": 2, "text": '"quoted" \\ \n' + "x" * 50}, {"a": 3, "text": ""}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_read(tmp_path, encoding, indent):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS, indent=indent, ensure_ascii=False), encoding=encoding)
    assert read(path) == (ROWS, 3)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_json_lines_are_read_under_either_name(tmp_path, name):
    path = tmp_path / name
    path.write_text("\n\n".join(json.dumps(row) for row in ROWS))
    assert read(path)[0] == ROWS


def test_parquet_is_read(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    assert read(path) == (ROWS, 3)


def test_numbers_and_half_characters_are_read_as_they_are(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 12345678901234567890123, "b": "\\ud83d"}]')
    assert read(path)[0] == [{"a": 12345678901234567890123, "b": "\ud83d"}]


def test_a_broken_line_does_not_stop_the_others(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n\xff\xff\n{"a": 2}\n')
    [first, cut, binary, last], _ = read(path)
    assert (first, last) == ({"a": 1}, {"a": 2})
    assert isinstance(cut, UserError) and "line 2 column 6: the JSON ends inside a value" in str(cut)
    assert isinstance(binary, UserError) and "line 3: not UTF-8" in str(binary)


@pytest.mark.parametrize(
    "content, message",
    [
        (b'[{"a": 1}, {"a": ', "line 1 column 18: the JSON ends inside a value; is the file cut"),
        (b'[{"a": 1}, {"a": "x', "line 1 column 18: the JSON ends inside a value; is the file cut"),
        (b'[{"a": 1}, ]', "line 1 column .*a comma before a closing bracket; remove"),
        (b'[{"a": 1,\n }]', "line .*a comma before a closing bracket; remove"),
        (b'[{"a": 1} {"a": 2}]', r'line 1 column 11: not JSON: .* delimiter, found \{"a": 2}]'),
        (b'[{"a": 1}] more', "line 1 column 12: not JSON: Expecting value, found more"),
        (b"[" * 100_000, "not JSON: nested too deeply"),
        (b'[{"a": "\xe9\xe9"}]', "not UTF-8"),
        (b'"text"', "expected an array of rows, or one object a line, found str"),
    ],
)
def test_a_broken_array_is_one_line(tmp_path, content, message):
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"rows\.json: {message}"):
        open_sources([path])


@pytest.mark.parametrize("name", ["missing.json", "empty.json", "folder", "rows.csv", "broken.parquet"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / "empty.json").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "rows.csv").write_text("a,b")
    (tmp_path / "broken.parquet").write_text("no parquet")
    with pytest.raises(UserError, match=name) as error:
        open_sources([tmp_path / name])
    assert "\n" not in str(error.value)


def test_an_unreachable_hub_is_one_line(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def fail(*args, **kwargs):
        raise ConnectionError("first line\nsecond line")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=r"some/data: cannot be loaded .*first line second line.*--input") as error:
        open_sources(["some/data"])
    assert "\n" not in str(error.value)


def test_the_hub_is_only_needed_without_a_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    assert read(path)[0] == ROWS


def test_a_gated_data_set_says_what_to_accept_and_how_to_log_in(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def refuse(*args, **kwargs):
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub. Visit the page.")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    message = r"a/b: is gated .*accept its terms at https://huggingface.co/datasets/a/b .*hf auth login.*--input"
    with pytest.raises(UserError, match=message):
        open_sources(["a/b"])


def test_a_data_set_is_loaded_the_way_the_hub_offers_it(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "some" / "data").mkdir(parents=True)
    (tmp_path / "some" / "data" / "data.json").write_text(json.dumps(ROWS))
    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda name, **options: load(str(tmp_path / name), **options))
    assert read("some/data") == (ROWS, 3)


def test_a_damaged_parquet_file_ends_with_an_error_in_the_place_of_a_row(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([{"a": "x" * 100 + str(number)} for number in range(5000)]), path)
    data = bytearray(path.read_bytes())
    data[200:4000] = b"\xff" * 3800
    path.write_bytes(data)
    [*_, last], _ = read(path)
    assert isinstance(last, UserError) and "damaged" in str(last)


def compress(path, content):
    with pa.output_stream(str(path), compression="detect") as file:
        file.write(content)


@pytest.mark.parametrize("kind", ["json", "jsonl", "ndjson", "parquet"])
@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_every_kind_of_file_may_be_compressed(tmp_path, kind, compression):
    plain = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), plain)
    else:
        plain.write_text(json.dumps(ROWS) if kind == "json" else "\n".join(map(json.dumps, ROWS)))
    packed = tmp_path / f"rows.{kind}.{compression}"
    compress(packed, plain.read_bytes())
    assert read(packed) == read(plain) == (ROWS, 3)


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"version": 1, "data": ROWS}),
        json.dumps({"train": ROWS[:2], "examples": ROWS[2:]}, indent=2),
        json.dumps(ROWS, indent=1),
        "\n".join(json.dumps(row, indent=4) for row in ROWS),
        "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]",
    ],
    ids=["wrapped", "two lists", "pretty", "pretty rows", "a row a line in an array"],
)
def test_json_of_another_shape_is_read_under_any_file_name(tmp_path, name, content):
    (tmp_path / name).write_text("\ufeff" + content)
    assert sorted(read(tmp_path / name)[0], key=str) == sorted(ROWS, key=str)


def test_one_conversation_is_a_row_and_wraps_none(tmp_path):
    row = {"messages": [{"role": "user", "content": "x"}], "tools": [{"name": "f"}]}
    (tmp_path / "one.json").write_text(json.dumps(row, indent=2))
    assert read(tmp_path / "one.json") == ([row], 1)


def test_a_folder_and_several_files_are_read_in_order(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"a": 2}\n{"a": 3}')
    (tmp_path / "a.json").write_text('[{"a": 1}]')
    (tmp_path / "notes.txt").write_text("no rows")
    (tmp_path / ".hidden.json").write_text("[")
    assert read(tmp_path) == ([{"a": 1}, {"a": 2}, {"a": 3}], 3)
    source = open_sources([tmp_path / "b.jsonl", tmp_path / "a.json"])
    places = [place.rpartition("/")[2] for place, _ in source.rows]
    assert places == ["b.jsonl, row 0", "b.jsonl, row 1", "a.json, row 0"]


def test_a_map_column_gives_objects(tmp_path):
    column = pa.array([[("x", "1")], []], pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"arguments": column}), tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet")[0] == [{"arguments": {"x": "1"}}, {"arguments": {}}]
