"""data_prep/sft.py: prepared rows as conversations."""

import json
from pathlib import Path

import pytest
from data_scripts import rows_of, run_script

from data_prep import sft
from tooln1.data.prepared import template_of
from tooln1.data.rows import calls_of, digest
from tooln1.errors import UserError
from tooln1.prompt import TAGS, build_system, format_call_turn, format_response, split_system
from tooln1.reward_score.toolcall import compute_score

SHARED = Path(__file__).parents[3] / "shared" / "data"
DIRECT = Path(__file__).parents[2] / "tooln1" / "templates" / "direct.txt"


def test_without_reasoning_the_response_is_the_ground_truth(tmp_path, toolace_folder):
    run_script(sft, tmp_path, toolace_folder)
    for split in ("train", "test"):
        rows = rows_of(toolace_folder, split)
        learned = rows_of(tmp_path, split)
        assert [row["messages"][:-1] for row in learned] == [row["prompt"] for row in rows]
        responses = [{"role": "assistant", "content": format_call_turn(calls_of(row))} for row in rows]
        assert [row["messages"][-1] for row in learned] == responses
        for name in ("data_source", "extra_info"):
            assert [row[name] for row in learned] == [row[name] for row in rows]


def write_responses(path, rows, reasoning):
    lines = [{"settings": {"model": "m"}}]
    for number, row in enumerate(rows):
        key = digest(row["prompt"]).hex()
        wrong = {"prompt": key, "sample": 0, "response": "<think>x</think>nothing", "reward": 0}
        right = {"prompt": key, "sample": 1, "response": format_response(calls_of(row), reasoning), "reward": 1}
        lines += [[wrong, right], [wrong], []][number % 3]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_with_reasoning_the_response_is_one_that_earns_the_reward(tmp_path, toolace_folder, capsys):
    rows = rows_of(toolace_folder, "train")
    write_responses(tmp_path / "responses.jsonl", rows, "because")
    learned, stats = run_script(sft, tmp_path / "out", toolace_folder, responses=tmp_path / "responses.jsonl")
    assert len(learned) == len(rows[::3])
    for row, source in zip(learned, rows[::3], strict=True):
        response = row["messages"][-1]["content"]
        assert response.startswith("<think>because</think>")
        assert compute_score("x", response, source["reward_model"]["ground_truth"])["score"] == 1
    [counts] = stats["data_sources"].values()
    assert counts["dropped"]["not_rewarded"] == len(rows[1::3])
    assert counts["read"] == 30 == counts["kept"] + sum(counts["dropped"].values())
    assert "no_response: there is no response to the prompt" in capsys.readouterr().out


def test_real_reasoning_becomes_responses(tmp_path):
    if not SHARED.is_dir():
        pytest.skip(f"needs the data samples in {SHARED}")
    from data_prep import xlam

    xlam.main(["--input", str(SHARED / "xlam_sample.json"), "--output", str(tmp_path), "--workers", "1"])
    reasoned = [json.loads(line) for line in (SHARED / "reasoning_sample.jsonl").read_text().splitlines()]
    # Some reasoning quotes the tags, which no rewarded response may do.
    reasoned = [line for line in reasoned if not any(tag in line["reasoning"] for tag in TAGS)]
    assert len(reasoned) > 30
    with open(tmp_path / "responses.jsonl", "w") as file:
        for line in reasoned:
            prompt = [
                {"role": "system", "content": build_system(line["tools"])},
                {"role": "user", "content": line["query"]},
            ]
            response = format_response(json.loads(line["answers"]), line["reasoning"])
            file.write(json.dumps({"prompt": digest(prompt).hex(), "response": response}) + "\n")
    learned, _ = run_script(sft, tmp_path / "out", tmp_path, responses=tmp_path / "responses.jsonl")
    assert len(learned) == len(reasoned)


def test_a_new_split_keeps_conversations_whole(tmp_path, toolace_folder):
    run_script(sft, tmp_path, toolace_folder, test_size=9, seed=1)
    sides = [{row["extra_info"]["source_row"] for row in rows_of(tmp_path, split)} for split in ("train", "test")]
    assert [len(side) for side in sides] == [7, 3] and not sides[0] & sides[1]


def test_another_template_is_put_in(tmp_path, toolace_folder):
    run_script(sft, tmp_path, toolace_folder, template=DIRECT)
    assert template_of(tmp_path / "train.parquet") == DIRECT.read_text()
    rows, learned = rows_of(toolace_folder, "train"), rows_of(tmp_path, "train")
    for row, one in zip(rows, learned, strict=True):
        context, tools = split_system(one["messages"][0]["content"], DIRECT.read_text())
        assert (context, tools) == split_system(row["prompt"][0]["content"])
        assert "<think>" not in one["messages"][0]["content"]


@pytest.mark.parametrize("line", ["{", "[]", '{"response": "x"}', '{"prompt": "00", "response": 5}'])
def test_a_file_that_holds_no_responses_is_named_with_its_line(tmp_path, toolace_folder, line):
    (tmp_path / "responses.jsonl").write_text('{"settings": {}}\n' + line + "\n")
    with pytest.raises(UserError, match=r"responses\.jsonl: line 2: expected"):
        run_script(sft, tmp_path / "out", toolace_folder, responses=tmp_path / "responses.jsonl")
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read"):
        run_script(sft, tmp_path / "out", toolace_folder, responses=tmp_path / "none.jsonl")
