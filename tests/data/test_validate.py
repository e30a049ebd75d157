"""A file is refused with one line that names file, row and field; what is fine passes, and quickly."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tooln1.data.rows import make_row, row_schema, write_table
from tooln1.data.validate import validate_parquet
from tooln1.errors import UserError
from tooln1.prompt import build_messages, load_template

TEMPLATES = ("thinking", "compact", "direct")


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


def refusals(path, **options):
    with pytest.raises(UserError) as error:
        validate_parquet(path, **options)
    return [message.removeprefix(f"{path}, ").partition(": ")[0] for message in error.value.messages]


def test_all_bad_rows_are_named_together_up_to_a_number(tmp_path):
    rows = [good(number) for number in range(2000)]
    for number in (0, 999, 1999):
        rows[number]["data_source"] = ""
    assert refusals(write(tmp_path / "few.parquet", rows)) == ["row 0", "row 999", "row 1999"]
    for row in rows[5:]:
        row["reward_model"]["ground_truth"] = "[NaN]"
    *named, rest = refusals(write(tmp_path / "many.parquet", rows))
    assert named == ["row 0", *(f"row {number}" for number in range(5, 14))] and rest == "row 14 and on"
    with pytest.raises(UserError, match="row 14 and on: 1,986 more rows like these"):
        validate_parquet(tmp_path / "many.parquet")


def with_tools(template=None, ground_truth='[{"name": "f", "arguments": {}}]'):
    tools = [{"name": name, "description": "", "parameters": {}} for name in ("f", "g")]
    messages = build_messages(tools, [{"role": "user", "content": "do it"}], "<tools> are listed below", template)
    return make_row(data_source="d", messages=messages, calls=json.loads(ground_truth), source_row=0, num_tools=2)


@pytest.mark.parametrize("template", [*TEMPLATES, "Tools:\n{tools}\nThink."])
def test_a_call_to_a_tool_that_the_prompt_does_not_list_is_named(tmp_path, template):
    text = load_template(template) if template in TEMPLATES else template
    rows = [with_tools(text), with_tools(text, "[]"), with_tools(text, '[{"name": "h", "arguments": {}}]')]
    write_table(tmp_path / "rows.parquet", rows, row_schema(template=text))
    listed = "reward_model.ground_truth: calls h; expected tools that the prompt lists, which are f, g; fix or drop"
    refuse(tmp_path / "rows.parquet", f"row 2: {listed}")


def test_conversations_end_with_the_assistant(tmp_path):
    talk = [{"role": "user", "content": "do it"}, {"role": "assistant", "content": "done"}]
    path = write(tmp_path / "sft.parquet", [{"messages": talk}, {"messages": talk[:1]}, {"messages": []}])
    assert refusals(path, conversations="messages") == ["row 1", "row 2"]


def test_rows_of_later_batches_are_counted_on(tmp_path):
    rows = [good(number) for number in range(5100)]
    rows[5050]["prompt"] = []
    refuse(write(tmp_path / "rows.parquet", rows), "row 5050: prompt")
