"""Prepared files: complete or absent, split by conversation, and the same bytes every time."""

import errno
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tooln1.data import parquet
from tooln1.data.parquet import PreparedFiles, write_parquet
from tooln1.data.rows import make_row, row_schema
from tooln1.data.validate import validate_parquet
from tooln1.errors import UserError


def row(source_row=0, turn=1, **changes):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": f"é {source_row}"}]
    calls = [{"name": "f", "arguments": {"x": source_row}}]
    fields = {"data_source": "toolcall/xlam", "messages": messages, "calls": calls, "num_tools": 1}
    return make_row(**{**fields, "source_row": source_row, "turn": turn, **changes})


def prepare(folder, conversations=40, seed=0, test_size=0.25):
    with PreparedFiles(folder) as files:
        for number in range(conversations):
            files.add([row(number, turn) for turn in range(number % 3)])
        return files.finish(test_size, seed, {"seed": seed})


def test_a_row_has_the_schema_of_the_design():
    assert row(source_row=3, turn=5) == {
        "data_source": "toolcall/xlam",
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "é 3"}],
        "ability": "toolcall",
        "reward_model": {"style": "rule", "ground_truth": '[{"name": "f", "arguments": {"x": 3}}]'},
        "extra_info": {"split": "train", "index": 0, "source_row": 3, "turn": 5, "num_tools": 1, "num_calls": 1},
    }


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [row(number, extra={"kind": "several"}) for number in range(5)]
    path = tmp_path / "new" / "rows.parquet"
    assert write_parquet(path, iter(rows), {"kind": pa.string()}) == 5
    assert pq.read_table(path).to_pylist() == rows
    assert validate_parquet(path) == 5


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_every_row_is_on_one_side_and_no_conversation_on_both(tmp_path, monkeypatch, batch):
    monkeypatch.setattr(parquet, "_BATCH", batch)
    monkeypatch.setattr(parquet, "_PREPARED_ROW_GROUP", batch)
    counts = prepare(tmp_path)
    splits = {split: pq.read_table(tmp_path / f"{split}.parquet").to_pylist() for split in ("train", "test")}
    assert counts == {split: len(rows) for split, rows in splits.items()}
    sides = [{r["extra_info"]["source_row"] for r in rows} for rows in splits.values()]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == {number for number in range(40) if number % 3}
    for split, rows in splits.items():
        assert [r["extra_info"]["split"] for r in rows] == [split] * len(rows)
        assert [r["extra_info"]["index"] for r in rows] == list(range(len(rows)))
    assert json.loads((tmp_path / "stats.json").read_text()) == {"seed": 0, "rows": counts}


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        prepare(tmp_path / name, seed=seed)
    files = ("train.parquet", "test.parquet", "stats.json")
    a, b, c = ([(tmp_path / name / file).read_bytes() for file in files] for name in "abc")
    assert a == b
    assert a[0] != c[0] and a[1] != c[1]


def test_only_the_finished_files_stay(tmp_path):
    prepare(tmp_path)
    prepare(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stats.json", "test.parquet", "train.parquet"]


def test_an_early_end_leaves_the_old_files_alone(tmp_path):
    prepare(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt), PreparedFiles(tmp_path) as files:
        files.add([row()])
        raise KeyboardInterrupt
    with pytest.raises(UserError, match="nothing to train on"):
        prepare(tmp_path, conversations=2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(UserError, match="train.parquet: cannot be written .No space left"):
        prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="out: cannot be written"):
        PreparedFiles(tmp_path / "out")


def test_the_schema_has_the_declared_extra_fields():
    info = row_schema({"kind": pa.string()}).field("extra_info").type
    assert info.field("kind").type == pa.string()
    assert row_schema().field("extra_info").type.get_field_index("kind") < 0
