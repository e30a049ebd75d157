"""A JSON array is read in pieces of any size, and what is broken in it is named row by row."""

import json
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooln1.data import json_array
from tooln1.data.json_array import read_json_array
from tooln1.errors import UserError

ROWS = [{"a": 1, "text": "é 🎉 [{"}, {"a": 2, "text": '"quoted" \\ \n' + "x" * 50}, {"a": 3, "text": ""}]


def read(path):
    passed = []
    rows = list(read_json_array(path, passed.append))
    return rows, sum(passed)


def outcome(tmp_path, content):
    """The rows, and in the place of broken ones their errors as text."""
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    return [str(row) if isinstance(row, UserError) else row for row in read(path)[0]]


@pytest.fixture(params=[1, 7, 64, 1 << 20])
def window(request, monkeypatch):
    monkeypatch.setattr(json_array, "_WINDOW", request.param)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_pieces_of_any_size_give_the_same_rows(tmp_path, window, indent, encoding):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS, indent=indent, ensure_ascii=False) + "\n", encoding=encoding)
    assert read(path) == (ROWS, path.stat().st_size)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4)), st.booleans(), st.integers(1, 50))
def test_any_rows_come_back(tmp_path_factory, rows, escaped, size):
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    path.write_text(json.dumps(rows, ensure_ascii=escaped), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_WINDOW", size)
        assert read(path)[0] == rows


def test_an_empty_array_has_no_rows(tmp_path):
    assert outcome(tmp_path, b" [ ] ") == []


@pytest.mark.parametrize(
    "content, expected",
    [
        (b'[{"a": 1}, {"a": ', [{"a": 1}, "broken JSON .*cut"]),
        (b'[{"a": 1}, {"a": "x', [{"a": 1}, "broken JSON .*cut"]),
        (b'[{"a": 1}', [{"a": 1}, "expected a comma .*the file ends"]),
        (b'[{"a": 1},', [{"a": 1}, "broken JSON"]),
        (b'[{"a": 1} {"a": 2}]', [{"a": 1}, "expected a comma"]),
        (b'[{"a": 1}] more', [{"a": 1}, "text follows"]),
        (b'[{"a": 1}, ' + b"[" * 100_000, [{"a": 1}, ".*recursion|cannot be read"]),
        ('[{"a": 1}]'.encode("utf-16"), ["not UTF-8"]),
        (b'"text"', ["starts with .*; expected a JSON array"]),
        # What follows is read when the row's brackets say where it ends.
        (b'[{"a": 1}, {a: 2}, {"a": 3}]', [{"a": 1}, "broken JSON", {"a": 3}]),
        (b'[{"a": [1, ], "b": "]}"}, {"a": 3}]', ["broken JSON", {"a": 3}]),
        (b'[{"a": [1, }, {"a": 3}]', ["broken JSON"]),
        (b'[{"a": "\xe9\xe9"}, {"a": 3}]', ["not UTF-8", {"a": 3}]),
        (b'[{"a": 0}, {"\xe9": }, {"a": 3}]', [{"a": 0}, "not UTF-8", {"a": 3}]),
    ],
)
def test_what_is_broken_stands_in_its_place(tmp_path, content, expected, window):
    found = outcome(tmp_path, content)
    assert len(found) == len(expected)
    for one, wanted in zip(found, expected, strict=True):
        if isinstance(wanted, str):
            assert isinstance(one, str) and re.search(wanted, one), one
        else:
            assert one == wanted


def test_a_quote_that_is_never_closed_does_not_pull_the_file_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(json_array, "_WINDOW", 1 << 10)
    monkeypatch.setattr(json_array, "_LONGEST_ROW", 1 << 14)
    path = tmp_path / "rows.json"
    path.write_text('[{"a": "' + "x" * (4 << 20))
    tracemalloc.start()
    [row] = read(path)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(row, UserError)
    assert peak < 1 << 20
