"""A file is refused with one line that names file, row and field; what is fine passes, and quickly."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tooln1.data.validate import validate_parquet
from tooln1.errors import UserError


def good(number=0):
    return {
        "data_source": "toolcall/xlam",
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "do it"}],
        "reward_model": {"style": "rule", "ground_truth": '[{"name": "f", "arguments": {"x": 1}}]'},
        "extra_info": {"index": number},
    }


def write(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def refuse(path, *pieces):
    with pytest.raises(UserError) as error:
        validate_parquet(path)
    for piece in (str(path), *pieces):
        assert piece in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("truth", ["[]", '[{"arguments": {}, "name": "f"}, {"name": "g", "arguments": {"a": [1]}}]'])
def test_a_good_file_passes(tmp_path, truth):
    row = good()
    row["reward_model"]["ground_truth"] = truth
    assert validate_parquet(write(tmp_path / "rows.parquet", [row] * 3)) == 3


def test_files_of_other_writers_pass(tmp_path):
    table = pa.Table.from_pylist([good()])
    message = pa.struct({"content": pa.large_string(), "role": pa.large_string(), "name": pa.string()})
    prompt = pa.array([[{"role": "user", "content": "x", "name": None}]], pa.large_list(message))
    table = table.set_column(table.schema.get_field_index("prompt"), "prompt", prompt).drop_columns("extra_info")
    pq.write_table(table, tmp_path / "rows.parquet")
    assert validate_parquet(tmp_path / "rows.parquet") == 1


def test_missing_empty_and_foreign_files_are_refused(tmp_path):
    refuse(tmp_path / "none.parquet", "no such file")
    refuse(tmp_path, "directory")
    (tmp_path / "empty.parquet").touch()
    refuse(tmp_path / "empty.parquet", "the file is empty")
    (tmp_path / "text.parquet").write_text("no parquet")
    refuse(tmp_path / "text.parquet", "not a readable parquet file")
    pq.write_table(pa.Table.from_pylist([good()]).slice(0, 0), tmp_path / "rows.parquet")
    refuse(tmp_path / "rows.parquet", "no rows")


@pytest.mark.parametrize("column", ["data_source", "prompt", "reward_model"])
def test_a_missing_column_is_named(tmp_path, column):
    row = good()
    del row[column]
    refuse(write(tmp_path / "rows.parquet", [row]), f"column {column}", "missing", "data_prep")


@pytest.mark.parametrize(
    "column, value",
    [
        ("data_source", 5),
        ("prompt", "text"),
        ("prompt", ["text"]),
        ("prompt", [{"role": "user", "text": "x"}]),
        ("reward_model", "[]"),
        ("reward_model", {"style": "rule"}),
        ("reward_model", {"ground_truth": [{"name": "f"}]}),
    ],
)
def test_a_column_of_another_type_is_named(tmp_path, column, value):
    refuse(write(tmp_path / "rows.parquet", [{**good(), column: value}]), f"row 0: {column}", "expected")


@pytest.mark.parametrize(
    "truth",
    [
        None,
        "",
        "not json",
        "5",
        "null",
        '{"name": "f", "arguments": {}}',
        "[5]",
        '[{"name": "f"}]',
        '[{"name": "f", "arguments": "{}"}]',
        '[{"name": 5, "arguments": {}}]',
        '[{"name": "f", "arguments": {}, "id": 1}]',
        '[{"name": "f", "arguments": {"a": NaN}}]',
        '[{"name": "f", "arguments": {"a": 1, "a": 2}}]',
        "[" * 100_000,
    ],
)
def test_a_ground_truth_that_the_reward_cannot_read_is_named_with_its_row(tmp_path, truth):
    rows = [good(number) for number in range(12)]
    rows[7]["reward_model"]["ground_truth"] = truth
    refuse(write(tmp_path / "rows.parquet", rows), "row 7: reward_model.ground_truth: expected a JSON list")


@pytest.mark.parametrize(
    "field, value",
    [
        ("data_source", None),
        ("data_source", ""),
        ("reward_model", None),
        ("prompt", None),
        ("prompt", []),
        ("prompt", [None]),
        ("prompt", [{"role": "robot", "content": "x"}]),
        ("prompt", [{"role": "user", "content": None}]),
        ("prompt", [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]),
    ],
)
def test_a_bad_value_is_named_with_its_row(tmp_path, field, value):
    rows = [good(0), good(1), {**good(2), field: value}, good(3)]
    refuse(write(tmp_path / "rows.parquet", rows), f"row 2: {field}")


def test_rows_of_later_batches_are_counted_on(tmp_path):
    rows = [good(number) for number in range(5100)]
    rows[5050]["prompt"] = []
    refuse(write(tmp_path / "rows.parquet", rows), "row 5050: prompt")
