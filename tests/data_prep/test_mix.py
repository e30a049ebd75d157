"""data_prep/mix.py: which rows come out, on which side, in which order, and what is changed in them."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_scripts import rows_of, run_script

from data_prep import mix, toolace, xlam
from tooln1.data import script
from tooln1.data.augment import read_call_turn
from tooln1.data.rows import ground_truth_earns_reward
from tooln1.data.validate import validate_parquet
from tooln1.errors import UserError
from tooln1.prompt import split_system

SHARED = Path(__file__).parents[3] / "shared" / "data"
FILES = ("train.parquet", "test.parquet", "stats.json")


def run_mix(output, *inputs, **options):
    return run_script(mix, output, *inputs, **options)


@pytest.fixture
def both(toolace_folder, xlam_folder):
    return toolace_folder, xlam_folder


def names_of(rows):
    return Counter(row["data_source"].rpartition("/")[2] for row in rows)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"preset": "full"}, {"toolace_multi_turn": 30, "xlam": 40}),
        ({"preset": "about-21k"}, {"toolace_multi_turn": 30, "xlam": 40}),
        ({"preset": "xlam-only"}, {"xlam": 40}),
        ({"preset": "toolace-only"}, {"toolace_multi_turn": 30}),
        ({"preset": "single-turn-5518"}, {"toolace_multi_turn": 10, "xlam": 40}),
        ({"counts": ["xlam=7", "toolace=all"]}, {"toolace_multi_turn": 30, "xlam": 7}),
        ({"weights": ["xlam=1", "toolace=3"]}, {"toolace_multi_turn": 30, "xlam": 10}),
        ({"weights": ["xlam=1", "toolace=2"], "rows": 10}, {"toolace_multi_turn": 7, "xlam": 3}),
    ],
)
def test_a_mixture_takes_the_rows_it_names(tmp_path, both, options, expected):
    rows, stats = run_mix(tmp_path, *both, **options)
    assert names_of(rows) == expected
    for name, counts in stats["data_sources"].items():
        assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
        assert counts["kept"] == expected.get(name.rpartition("/")[2], 0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"counts": ["xlam=41"]}, "xlam has 40 of 41"),
        ({"counts": ["none=all"]}, "no row of none is left"),
        ({"counts": ["xlam=1", "xlam=2"]}, "each part once"),
        ({"weights": ["xlam=1"], "rows": 41}, "xlam has 40 of 41"),
        ({"preset": "full", "counts": ["xlam=1"]}, "give one of"),
        ({"preset": "full", "rows": 5}, "--rows goes with --weights"),
        ({"preset": "full", "template": "nowhere.txt"}, "nowhere.txt"),
    ],
)
def test_an_impossible_mixture_is_one_line(tmp_path, both, options, message):
    with pytest.raises(UserError, match=message):
        run_mix(tmp_path / "out", *both, **options)
    assert not (tmp_path / "out" / "train.parquet").exists()


@pytest.mark.parametrize("options", [{"counts": "xlam"}, {"counts": "xlam=-1"}, {"weights": "xlam=0"}, {"mask": 1.1}])
def test_an_unreadable_option_is_one_line(tmp_path, both, options, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_mix(tmp_path / "out", *both, **options)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: argument --{next(iter(options))}: expected ")


def test_rows_keep_their_content_and_get_new_numbers(tmp_path, both):
    rows, _ = run_mix(tmp_path, *both, preset="full")
    before = [row for folder in both for row in rows_of(folder)]

    def essence(row):
        info = {key: value for key, value in row["extra_info"].items() if key not in ("split", "index")}
        return json.dumps({**row, "extra_info": info}, sort_keys=True)

    assert sorted(map(essence, rows)) == sorted(map(essence, before))
    for split in ("train", "test"):
        infos = [row["extra_info"] for row in pq.read_table(tmp_path / f"{split}.parquet").to_pylist()]
        assert [info["index"] for info in infos] == list(range(len(infos)))
        assert {info["split"] for info in infos} == {split}
        assert validate_parquet(tmp_path / f"{split}.parquet") == len(infos)


def test_no_conversation_is_on_both_sides_and_rows_are_shuffled(tmp_path, both, toolace_folder):
    rows, _ = run_mix(tmp_path, *both, preset="full", test_size=20)
    sides = {}
    for row in rows:
        key = (row["data_source"], row["extra_info"]["source_row"])
        sides.setdefault(key, set()).add(row["extra_info"]["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert Counter(row["extra_info"]["split"] for row in rows) == {"train": 50, "test": 20}
    order = [row["extra_info"]["source_row"] for row in rows if row["data_source"] == "toolcall/xlam"]
    assert order != sorted(order)


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(tmp_path, both, monkeypatch):
    monkeypatch.setattr(script, "_BATCH", 15)
    for name, seed, workers in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        run_mix(tmp_path / name, *both, irrelevance=0.3, mask=0.3, seed=seed, workers=workers)
    a, b, c = ([(tmp_path / name / file).read_bytes() for file in FILES] for name in "abc")
    assert a == b
    assert a[0] != c[0] and a[1] != c[1]


def test_equal_prompts_are_kept_once_and_counted(tmp_path, xlam_folder):
    changed = []
    for row in rows_of(xlam_folder)[:5]:
        row["reward_model"]["ground_truth"] = "[]"
        changed.append(row)
    other = tmp_path / "other.parquet"
    pq.write_table(pa.Table.from_pylist(changed), other)
    page = tmp_path / "page.md"
    rows, stats = run_mix(tmp_path / "out", xlam_folder, other, xlam_folder, preset="xlam-only", report=page)
    prompts = [json.dumps(row["prompt"]) for row in rows]
    assert len(prompts) == len(set(prompts)) == 40
    # The first of equal prompts stays, with its ground truth.
    assert all(row["reward_model"]["ground_truth"] != "[]" for row in rows)
    dropped = stats["data_sources"]["toolcall/xlam"]["dropped"]
    assert dropped == {"duplicate": 40, "duplicate_other_ground_truth": 5}
    train = xlam_folder / "train.parquet"
    assert f"{other}, row 2:\n\n    has the prompt of {train}, row 2\n" in page.read_text()
    assert f"{train}, row 1:\n\n    has the prompt of {train}, row 1\n" in page.read_text()


def test_irrelevant_rows_lack_the_tools_of_their_ground_truth(tmp_path, both):
    before = {json.dumps(row["prompt"][1:]): row for folder in both for row in rows_of(folder)}
    rows, stats = run_mix(tmp_path, *both, preset="full", irrelevance=0.3)
    irrelevant = [row for row in rows if row["reward_model"]["ground_truth"] == "[]"]
    assert len(irrelevant) == stats["irrelevance"]["rows"] == 21
    for row in irrelevant:
        original = before[json.dumps(row["prompt"][1:])]
        gone = {call["name"] for call in json.loads(original["reward_model"]["ground_truth"])}
        context, tools = split_system(row["prompt"][0]["content"])
        old_context, old_tools = split_system(original["prompt"][0]["content"])
        assert tools == [tool for tool in old_tools if tool["name"] not in gone]
        assert context == old_context
        assert row["extra_info"]["num_tools"] == len(tools) > 0
        assert row["extra_info"]["num_calls"] == 0
        called = [call["name"] for turn in row["prompt"] for call in (read_call_turn(turn["content"]) or ("", []))[1]]
        assert not gone & set(called)
    prompts = [json.dumps(row["prompt"]) for row in rows]
    assert len(set(prompts)) == len(prompts)


def test_masked_rows_have_other_names_everywhere_and_the_same_descriptions(tmp_path, both):
    before = {json.dumps(row["prompt"][-1]): row for folder in both for row in rows_of(folder)}
    rows, stats = run_mix(tmp_path, *both, preset="full", mask=1)
    assert stats["mask"]["rows"] == len(rows) == 70
    for row in rows:
        original = before[json.dumps(row["prompt"][-1])]
        _, tools = split_system(row["prompt"][0]["content"])
        _, old_tools = split_system(original["prompt"][0]["content"])
        assert [tool["description"] for tool in tools] == [tool["description"] for tool in old_tools]
        text = json.dumps(tools) + row["reward_model"]["ground_truth"]
        text += "".join(turn["content"] for turn in row["prompt"][2:-1])
        for old, new in zip(old_tools, tools, strict=True):
            assert old["name"] != new["name"] and json.dumps(old["name"]) not in text
            old_parameters, parameters = old["parameters"], new["parameters"]
            assert list(old_parameters["properties"].values()) == list(parameters["properties"].values())
            assert not set(old_parameters["properties"]) & set(parameters["properties"])
            assert set(parameters.get("required", ())) <= set(parameters["properties"])
        [call] = json.loads(row["reward_model"]["ground_truth"])
        [tool] = [tool for tool in tools if tool["name"] == call["name"]]
        assert set(call["arguments"]) <= set(tool["parameters"]["properties"])
        [old_call] = json.loads(original["reward_model"]["ground_truth"])
        assert list(call["arguments"].values()) == list(old_call["arguments"].values())
        assert ground_truth_earns_reward(row)


def test_rows_of_evaluation_files_are_dropped(tmp_path, both):
    (tmp_path / "queries.jsonl").write_text(
        json.dumps({"question": [[{"role": "user", "content": "what is the WEATHER like in City 3, today"}]]})
    )
    tool = {"name": "other_5", "description": "another", "parameters": {"type": "dict", "properties": {}}}
    (tmp_path / "tools.json").write_text(json.dumps([{"function": [tool]}]))
    files = [tmp_path / "queries.jsonl", tmp_path / "tools.json"]
    rows, stats = run_mix(tmp_path / "out", *both, preset="full", decontaminate=files)
    assert stats["data_sources"]["toolcall/xlam"]["dropped"] == {"query_in_evaluation": 1, "tool_in_evaluation": 1}
    left = {row["prompt"][1]["content"] for row in rows if row["data_source"] == "toolcall/xlam"}
    assert not left & {f"What is the weather like in City {n} today?" for n in (3, 5)}
    assert len(rows) == 68


def test_another_template_is_put_in(tmp_path, both):
    template = tmp_path / "mine.txt"
    template.write_text("Only these:\n{tools}")
    rows, _ = run_mix(tmp_path / "out", *both, preset="full", template=template, mask=0.5, irrelevance=0.2)
    for row in rows:
        _, tools = split_system(row["prompt"][0]["content"], template.read_text())
        assert len(tools) == row["extra_info"]["num_tools"]
    # And the files say so: they can be mixed again.
    again, _ = run_mix(tmp_path / "again", tmp_path / "out", counts=["xlam=all"], irrelevance=0.1)
    assert len(again) == 40


def test_different_templates_do_not_mix_unseen(tmp_path, xlam_folder, toolace_folder):
    (tmp_path / "mine.txt").write_text("Mine: {tools}")
    options = ["--input", str(xlam_folder / "in.json"), "--output", str(tmp_path / "x"), "--workers", "1"]
    xlam.main([*options, "--template", str(tmp_path / "mine.txt")])
    with pytest.raises(UserError, match="different templates; give --template"):
        run_mix(tmp_path / "out", tmp_path / "x", toolace_folder, preset="full")


def broken_copy(folder, path):
    rows = rows_of(folder)
    rows[3]["reward_model"]["ground_truth"] = "{"
    rows[5]["prompt"] = []
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_a_broken_row_stops_or_is_counted(tmp_path, xlam_folder):
    path = broken_copy(xlam_folder, tmp_path / "broken.parquet")
    with pytest.raises(UserError, match=r"broken\.parquet, row 3: reward_model.ground_truth: expected a JSON list"):
        run_mix(tmp_path / "out", path, preset="xlam-only")
    rows, stats = run_mix(tmp_path / "out", path, preset="xlam-only", on_error="skip")
    assert len(rows) == 38
    assert stats["data_sources"]["broken"]["dropped"] == {"broken_row": 2}


@pytest.mark.parametrize("name", ["missing", "empty_folder", "text.parquet", "foreign.parquet"])
def test_an_input_that_is_not_prepared_is_named(tmp_path, name):
    (tmp_path / "empty_folder").mkdir()
    (tmp_path / "text.parquet").write_text("no parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    with pytest.raises(UserError, match=name) as error:
        run_mix(tmp_path / "out", tmp_path / name, preset="full")
    assert "\n" not in str(error.value)


def test_real_rows_mix_mask_and_lose_their_tools(tmp_path):
    if not SHARED.is_dir():
        pytest.skip(f"needs the data samples in {SHARED}")
    toolace.main(["--input", str(SHARED / "toolace_sample.json"), "--output", str(tmp_path / "t"), "--workers", "1"])
    xlam.main(["--input", str(SHARED / "xlam_sample.json"), "--output", str(tmp_path / "x"), "--workers", "1"])
    evaluation = [SHARED / "api_bank" / "apibank_l1.json", *sorted(SHARED.glob("acebench/data_all/data_en/*.json"))]
    rows, stats = run_mix(
        tmp_path / "m",
        tmp_path / "t",
        tmp_path / "x",
        preset="about-21k",
        irrelevance=0.2,
        mask=0.5,
        decontaminate=evaluation,
    )
    assert len(rows) == 288
    assert stats["irrelevance"]["rows"] == sum(row["reward_model"]["ground_truth"] == "[]" for row in rows) == 58
    assert all(ground_truth_earns_reward(row) for row in rows)


def test_without_a_mixture_all_rows_are_taken(tmp_path, both, toolace_folder):
    rows, _ = run_mix(tmp_path / "named", *both, preset="full")
    assert run_mix(tmp_path / "unnamed", *both)[0] == rows
    toolace.main(["--input", str(toolace_folder / "in.json"), "--output", str(tmp_path / "own"), "--name", "shop"])
    rows, stats = run_mix(tmp_path / "mine", tmp_path / "own", both[1])
    assert names_of(rows) == {"shop": 30, "xlam": 40}
    assert stats["data_sources"]["toolcall/shop"]["dropped"] == {}
