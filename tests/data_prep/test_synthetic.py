"""The synthetic world's files, as verl's own readers see them."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tooln1.tiny.stages import GRPO, SFT

from data_prep.synthetic import main
from tooln1.config import compose
from tooln1.data.rows import reference_earns_reward
from tooln1.data.validate import validate_parquet
from tooln1.tiny.world import KINDS

FILES = ("train.parquet", "test.parquet", "sft.parquet", "stats.json")
COUNTS = {"train": 300, "test": 70, "sft": 60}
SIZES = [text for name, count in COUNTS.items() for text in (f"--{name}", str(count))]
SPLITS = ("train", "test")


def rows(tiny_data, name):
    return pq.read_table(tiny_data / f"{name}.parquet").to_pylist()


def written_calls(row):
    """The reference calls of a row, and the calls that stand in its prompt already."""
    calls = json.loads(row["reward_model"]["ground_truth"])
    for message in row["prompt"]:
        if message["role"] == "assistant":
            calls += json.loads(message["content"].removeprefix("<tool_call>").removesuffix("</tool_call>"))
    return calls


def pairs(table):
    """(tool, value) as JSON text, a list item by item: True, 1 and "1" stay apart."""
    return {
        (call["name"], json.dumps(item))
        for row in table
        for call in written_calls(row)
        for value in call["arguments"].values()
        for item in (value if isinstance(value, list) else [value])
    }


def test_the_same_seed_gives_the_same_bytes_in_another_process(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")  # sets of strings come in another order there
    script = Path(__file__).parents[2] / "data_prep" / "synthetic.py"
    command = [sys.executable, str(script), "--output", str(tmp_path), "--seed", "0", *SIZES]
    subprocess.run(command, check=True, capture_output=True)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (tiny_data / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def test_another_seed_gives_other_rows(tiny_data, tmp_path):
    main(["--output", str(tmp_path), "--seed", "1", *SIZES])
    for name in FILES:
        assert (tmp_path / name).read_bytes() != (tiny_data / name).read_bytes(), name


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_is_valid_and_its_reference_earns_the_reward(split, tiny_data):
    assert validate_parquet(tiny_data / f"{split}.parquet") == COUNTS[split]
    assert all(reference_earns_reward(row) for row in rows(tiny_data, split))


def test_every_kind_occurs_and_the_test_has_as_many_rows_of_each(tiny_data):
    stats = json.loads((tiny_data / "stats.json").read_text())
    for split in SPLITS:
        counted = {kind: 0 for kind in KINDS}
        for row in rows(tiny_data, split):
            counted[row["extra_info"]["kind"]] += 1
        assert counted == stats["rows"][split]
        assert min(counted.values()) > 0
    assert set(stats["rows"]["test"].values()) == {10}
    assert (stats["seed"], stats["sft"]) == (0, 60)


def test_train_and_test_share_no_tool_and_value(tiny_data):
    train, test = (pairs(rows(tiny_data, split)) for split in SPLITS)
    assert train and test and not train & test


def test_train_and_test_share_no_request_and_neither_does_the_warm_start(tiny_data):
    """Tasks without a call have their pairs in the request only."""

    def requests(name, key):
        return {m["content"] for row in rows(tiny_data, name) for m in row[key] if m["role"] == "user"}

    test = requests("test", "prompt")
    assert test and not test & (requests("train", "prompt") | requests("sft", "messages"))


@pytest.mark.parametrize("split", SPLITS)
def test_no_prompt_occurs_twice(split, tiny_data):
    prompts = [json.dumps(row["prompt"]) for row in rows(tiny_data, split)]
    assert len(set(prompts)) == len(prompts)


def test_verls_dataset_reads_every_row(tiny_data, tiny_model, tmp_path, monkeypatch):
    import datasets
    from transformers import AutoTokenizer
    from verl.utils.dataset.rl_dataset import RLHFDataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    config = compose(GRPO, ["data.filter_overlong_prompts_workers=1"]).data
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    read = RLHFDataset([str(tiny_data / "train.parquet")], tokenizer, config)
    assert len(read) == COUNTS["train"]  # none is longer than the recipe allows
    expected = rows(tiny_data, "train")
    for index in (0, 7, 299):
        assert list(read[index]["raw_prompt"]) == expected[index]["prompt"]
        assert read[index]["reward_model"]["ground_truth"] == expected[index]["reward_model"]["ground_truth"]
        assert read[index]["data_source"] == "toolcall/synthetic"


def test_verls_warm_start_learns_the_replies_and_nothing_else(tiny_data, tiny_model):
    from transformers import AutoTokenizer
    from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    config = compose(SFT, ["data.train_files=x", "model.path=x"]).data
    read = MultiTurnSFTDataset([str(tiny_data / "sft.parquet")], tokenizer, config)
    assert len(read) == COUNTS["sft"]
    for index, row in enumerate(rows(tiny_data, "sft")):
        learned = read[index]["input_ids"][read[index]["loss_mask"] == 1]
        replies = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
        # verl's mask takes in the newline that Qwen2's template writes after every turn.
        assert tokenizer.decode(learned) == "".join(f"{reply}<|im_end|>\n" for reply in replies)
        assert len(replies) > 1


def test_the_closing_table_counts_the_kinds(tmp_path, capsys):
    main(["--output", str(tmp_path), "--train", "30", "--test", "14", "--sft", "5"])
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    stats = json.loads((tmp_path / "stats.json").read_text())
    for kind in KINDS:
        assert [kind, str(stats["rows"]["train"].get(kind, 0)), "2"] in table
