"""data_prep/synthetic.py: the files of the quickstart's world."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from data_scripts import SPLITS, rows_of

from data_prep.synthetic import main
from tooln1.data.rows import ground_truth_earns_reward
from tooln1.data.validate import validate_parquet
from tooln1.tiny.world import KINDS

FILES = ("train.parquet", "test.parquet", "sft.parquet", "stats.json")
COUNTS = {"train": 300, "test": 70, "sft": 60}
SIZES = [text for name, count in COUNTS.items() for text in (f"--{name}", str(count))]


def written_calls(row):
    """Return the ground truth calls of a row, and the calls in its prompt."""
    calls = json.loads(row["reward_model"]["ground_truth"])
    for message in row["prompt"]:
        if message["role"] == "assistant":
            calls += json.loads(message["content"].removeprefix("<tool_call>").removesuffix("</tool_call>"))
    return calls


def pairs(table):
    """Return (tool, value) pairs, values as JSON text: True, 1 and "1" stay apart. A list counts item by item."""
    return {
        (call["name"], json.dumps(item))
        for row in table
        for call in written_calls(row)
        for value in call["arguments"].values()
        for item in (value if isinstance(value, list) else [value])
    }


def test_the_same_seed_gives_the_same_bytes_in_another_process(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")  # sets of strings have another order there
    script = Path(__file__).parents[2] / "data_prep" / "synthetic.py"
    command = [sys.executable, str(script), "--output", str(tmp_path), "--seed", "0", *SIZES]
    subprocess.run(command, check=True, capture_output=True)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (tiny_data / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def test_another_seed_gives_other_rows(tiny_data, tmp_path, capsys):
    main(["--output", str(tmp_path), "--seed", "1", *SIZES])
    for name in FILES:
        assert (tmp_path / name).read_bytes() != (tiny_data / name).read_bytes(), name
    assert re.search(r"^multi_turn +\d+ +10$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_is_valid_and_its_ground_truth_earns_the_reward(split, tiny_data):
    assert validate_parquet(tiny_data / f"{split}.parquet") == COUNTS[split]
    assert all(ground_truth_earns_reward(row) for row in rows_of(tiny_data, split))


def test_every_kind_occurs_and_the_test_has_as_many_rows_of_each(tiny_data):
    stats = json.loads((tiny_data / "stats.json").read_text())
    for split in SPLITS:
        counted = {kind: 0 for kind in KINDS}
        for row in rows_of(tiny_data, split):
            counted[row["extra_info"]["kind"]] += 1
        assert counted == stats["rows"][split]
        assert min(counted.values()) > 0
    assert set(stats["rows"]["test"].values()) == {10}
    assert (stats["seed"], stats["sft"]) == (0, 60)


def test_train_and_test_share_no_tool_and_value(tiny_data):
    train, test = (pairs(rows_of(tiny_data, split)) for split in SPLITS)
    assert train and test and not train & test


def test_train_and_test_share_no_request_and_neither_does_the_warm_start(tiny_data):
    """Tasks without a call show their pairs in the request only."""

    def requests(name, key):
        return {m["content"] for row in rows_of(tiny_data, name) for m in row[key] if m["role"] == "user"}

    test = requests("test", "prompt")
    assert test and not test & (requests("train", "prompt") | requests("sft", "messages"))


@pytest.mark.parametrize("split", SPLITS)
def test_no_prompt_occurs_twice(split, tiny_data):
    prompts = [json.dumps(row["prompt"]) for row in rows_of(tiny_data, split)]
    assert len(set(prompts)) == len(prompts)
