"""data_prep/toolace.py on real conversations and on small ones of every shape."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_prep import toolace
from tooln1.data import rows
from tooln1.data.validate import validate_parquet
from tooln1.errors import UserError
from tooln1.prompt import build_system, format_call_turn

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "data_prep" / "toolace.py"
SAMPLE = ROOT.parent / "shared" / "data" / "toolace_sample.json"

TOOLS = [{"name": "Find It (beta)", "description": "finds", "parameters": {"type": "dict", "properties": {"q": {}}}}]
CALL = '[Find It (beta)(q="x) y")]'
CALLS = [{"name": "Find It (beta)", "arguments": {"q": "x) y"}}]
# The words around the tool list are those of the data set.
SYSTEM = """You are an expert in composing functions. You are given a question and a set of possible functions.\x20
Based on the question, you will need to make one or more function/tool calls to achieve the purpose.\x20
If none of the function can be used, point it out. If the given question lacks the parameters required by the function,
also point it out. You should only return the function call in tools call sections.
Here is a list of functions in JSON format that you can invoke:
{tools}.\x20
Should you decide to return the function call(s).\x20
Put it in the format of [func1(params_name=params_value, params_name2=params_value2...), func2(params)]

NO other text MUST be included."""
KEPT = "You are an expert in composing functions."


def record(*turns, system=None, tools=TOOLS):
    """A conversation from "role: text" lines."""
    conversations = [dict(zip(("from", "value"), turn.split(": ", 1), strict=True)) for turn in turns]
    return {"system": system or SYSTEM.replace("{tools}", json.dumps(tools)), "conversations": conversations}


def prepare(*turns, **options):
    record_options = {key: options.pop(key) for key in ("system", "tools") if key in options}
    return toolace.prepare_conversation(record(*turns, **record_options), 7, toolace.Options(**options))


def test_one_call_is_one_row():
    outcome = prepare("user: find it", f"assistant: {CALL}")
    [row] = outcome.rows
    assert row["data_source"] == outcome.data_source == "toolcall/toolace_single_turn"
    assert [message["role"] for message in row["prompt"]] == ["system", "user"]
    assert row["prompt"][1]["content"] == "find it"
    assert json.loads(row["reward_model"]["ground_truth"]) == CALLS
    assert row["extra_info"] == {
        "split": "train",
        "index": 0,
        "source_row": 7,
        "turn": 1,
        "num_tools": 1,
        "num_calls": 1,
    }


@pytest.mark.parametrize(
    "roles", [("user", "assistant", "tool", "assistant"), ("human", "gpt", "observation", "function_call")]
)
def test_each_call_step_is_a_row_that_shows_the_earlier_ones(roles):
    user, assistant, tool, caller = roles
    request, call = f"{user}: first", f"{caller}: {CALL}"
    outcome = prepare(request, call, f"{tool}: [1]", f"{assistant}: Done.", f"{user}: again", call)
    assert outcome.data_source == "toolcall/toolace_multi_turn"
    first, second = outcome.rows
    assert [row["extra_info"]["turn"] for row in outcome.rows] == [1, 5]
    assert [message["role"] for message in second["prompt"]] == [
        "system", "user", "assistant", "tool", "assistant", "user",
    ]  # fmt: skip
    assert second["prompt"][:2] == first["prompt"]
    assert second["prompt"][2]["content"] == format_call_turn(CALLS)
    assert second["prompt"][4]["content"] == "Done."
    assert outcome.dropped == {"no_call": 1}


def test_calls_as_json_objects_and_tools_in_a_field_are_taken():
    written = json.dumps(CALLS[0])
    raw = record("human: find it", f"function_call: {written}", system="Be kind.")
    for tools in (TOOLS, json.dumps(TOOLS)):
        outcome = toolace.prepare_conversation({**raw, "tools": tools}, 0, toolace.Options())
        [row] = outcome.rows
        assert json.loads(row["reward_model"]["ground_truth"]) == CALLS
        assert row["prompt"][0]["content"] == build_system(TOOLS, "Be kind.")


def test_a_system_turn_serves_as_the_system_text():
    raw = record("user: find it", f"assistant: {CALL}")
    raw["conversations"].insert(0, {"from": "system", "value": raw.pop("system")})
    [row] = toolace.prepare_conversation(raw, 0, toolace.Options()).rows
    assert row["prompt"][0]["content"].endswith(build_system(TOOLS))
    assert row["extra_info"]["turn"] == 2


def test_the_system_text_keeps_what_is_neither_tools_nor_the_way_to_answer():
    system = "You are Ada, a nurse.\nThe current time is 2024-05-01.\n" + SYSTEM + "\nNever give a diagnosis [ever]."
    [row] = prepare("user: find it", f"assistant: {CALL}", system=system.replace("{tools}", json.dumps(TOOLS))).rows
    assert row["prompt"][0]["content"] == build_system(
        TOOLS,
        "You are Ada, a nurse.\nThe current time is 2024-05-01.\nYou are an expert in composing functions.\n"
        "Never give a diagnosis [ever].",
    )


def test_another_template_is_used():
    [row] = prepare("user: find it", f"assistant: {CALL}", template="Mine: {tools}").rows
    assert row["prompt"][0]["content"] == build_system(TOOLS, KEPT, "Mine: {tools}")


def test_turns_without_a_call_become_rows_on_request():
    call = f"assistant: {CALL}"
    turns = ("user: hello", "assistant: [Hi] there", "user: find it", call, "tool: [1]", "assistant: Done.")
    assert prepare(*turns).dropped == {"no_call": 2}
    outcome = prepare(*turns, include_no_call=True)
    assert [row["reward_model"]["ground_truth"] == "[]" for row in outcome.rows] == [True, False, True]
    assert [row["extra_info"]["num_calls"] for row in outcome.rows] == [0, 1, 0]
    assert not outcome.dropped


@pytest.mark.parametrize(
    "turns, reason",
    [
        (["user: x", "assistant: [Unknown(q=1)]"], "unknown_tool"),
        (["user: x", f"assistant: [{CALL[1:-1]}, Unknown(q=1)]"], "unknown_tool"),
        (["user: x", "assistant: [Find It (beta)(1)]"], "positional_argument"),
        (["user: x", f"assistant: I will call {CALL[1:-1]} now."], "call_in_prose"),
        (["user: x", "function_call: Just text."], "not_calls"),
        ([f"assistant: {CALL}"], "no_request"),
        (["user: x", "assistant: Wait.", f"assistant: {CALL}"], "follows_assistant"),
        (["user: \ud83d", f"assistant: {CALL}"], "bad_unicode"),
    ],
)
@pytest.mark.parametrize("include_no_call", [False, True])
def test_a_turn_that_cannot_be_used_is_counted_by_its_reason(turns, reason, include_no_call):
    outcome = prepare(*turns, include_no_call=include_no_call)
    assert outcome.dropped[reason] == 1
    assert all(row["reward_model"]["ground_truth"] == "[]" for row in outcome.rows)


def test_no_row_shows_a_call_that_could_not_be_read():
    outcome = prepare("user: x", "assistant: [Unknown(q=1)]", "tool: [1]", f"assistant: {CALL}")
    assert not outcome.rows
    assert outcome.dropped == {"unknown_tool": 1, "after_rejected_turn": 1}


@pytest.mark.parametrize(
    "system, reason",
    [("No tools.", "no_tools"), ('Tools: [{"name": "cut', "tools_not_json"), ('[{"name": ""}]', "bad_tool")],
)
def test_without_a_tool_list_every_step_is_counted(system, reason):
    outcome = prepare("user: x", f"assistant: {CALL}", "user: y", "assistant: z", system=system)
    assert not outcome.rows
    assert outcome.dropped == {reason: 2}


def test_a_row_whose_own_reference_earns_nothing_is_dropped(monkeypatch):
    monkeypatch.setattr(rows, "reference_earns_reward", lambda row: False)
    assert prepare("user: x", f"assistant: {CALL}").dropped == {"reference_not_rewarded": 1}


@pytest.mark.parametrize(
    "raw, message",
    [
        (5, "expected an object"),
        ({"system": "x"}, "conversations"),
        ({"system": "x", "conversations": "text"}, "conversations"),
        ({"conversations": [{"from": "user", "value": "x"}]}, "system"),
        ({"system": "x", "conversations": [{"from": "user"}]}, "turn 0"),
        ({"system": "x", "conversations": [5]}, "turn 0"),
        ({"system": "x", "conversations": [{"from": "robot", "value": "x"}]}, "turn 0.*'robot'"),
        ({"system": "x", "conversations": [{"from": ["user"], "value": "x"}]}, "turn 0"),
    ],
)
def test_a_record_that_is_no_conversation_is_an_error(raw, message):
    with pytest.raises(UserError, match=message):
        toolace.prepare_conversation(raw, 0, toolace.Options())


def run_script(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )


def write_input(path, number=10):
    path.write_text(json.dumps([record(f"user: find {n}", f"assistant: {CALL}") for n in range(number)]))
    return path


def test_the_script_writes_three_files_and_a_table(tmp_path):
    done = run_script("--input", write_input(tmp_path / "in.json"), "--output", tmp_path / "out", "--test-size", 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"toolcall/toolace_single_turn +10 +10 +10 +0\n", done.stdout)
    assert validate_parquet(tmp_path / "out" / "train.parquet") == 8
    assert validate_parquet(tmp_path / "out" / "test.parquet") == 2
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["conversations"] == {"read": 10, "kept": 10, "dropped": {}}
    assert stats["rows"] == {"train": 8, "test": 2}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_other_kinds_of_files_give_the_same_bytes(tmp_path, suffix):
    rows = json.loads(write_input(tmp_path / "in.json").read_text())
    other = tmp_path / f"in{suffix}"
    if suffix == ".jsonl":
        other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import pyarrow as pa

        pq.write_table(pa.Table.from_pylist(rows), other)
    for name, source in (("a", tmp_path / "in.json"), ("b", other)):
        toolace.main(["--input", str(source), "--output", str(tmp_path / name)])
    for name in ("train.parquet", "test.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    "content, options, message",
    [
        ('[{"system": "x", "conver', [], "row 0: broken JSON"),
        ('[5, {"a": 1}]', [], "row 0: expected an object"),
        ("[]", [], "nothing to train on"),
        ("[]", ["--test-size", "none"], "--test-size none"),
        ("[]", ["--template", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_what_the_user_can_mend_is_one_line(tmp_path, content, options, message):
    (tmp_path / "in.json").write_text(content)
    done = run_script("--input", tmp_path / "in.json", "--output", tmp_path / "out", *options)
    assert done.returncode == 2
    assert re.fullmatch(rf"error: .*{message}.*\n", done.stderr)
    assert not (tmp_path / "out" / "train.parquet").exists()


def test_broken_rows_are_skipped_and_counted_on_request(tmp_path):
    good = [record(f"user: find {n}", f"assistant: {CALL}") for n in range(4)]
    lines = [json.dumps(row) for row in good]
    (tmp_path / "in.jsonl").write_text("\n".join([lines[0], "{cut", lines[1], "5", *lines[2:]]))
    toolace.main(["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path), "--on-error", "skip"])
    stats = json.loads((tmp_path / "stats.json").read_text())
    assert stats["conversations"] == {"read": 6, "kept": 4, "dropped": {"broken_row": 2}}
    written = [row for name in ("train", "test") for row in pq.read_table(tmp_path / f"{name}.parquet").to_pylist()]
    assert sorted(row["extra_info"]["source_row"] for row in written) == [0, 2, 4, 5]


def test_every_real_call_arrives_in_the_files(tmp_path):
    if not SAMPLE.exists():
        pytest.skip(f"needs the data sample {SAMPLE}")
    toolace.main(["--input", str(SAMPLE), "--output", str(tmp_path), "--test-size", "0.1"])
    expected = json.loads(SAMPLE.with_name("toolace_sample.expected.json").read_text())
    found = {}
    conversations = []
    for split in ("train", "test"):
        rows = pq.read_table(tmp_path / f"{split}.parquet").to_pylist()
        conversations.append({row["extra_info"]["source_row"] for row in rows})
        for row in rows:
            key = (row["extra_info"]["source_row"], row["extra_info"]["turn"])
            found[key] = row["reward_model"]["ground_truth"]
    assert found == {
        (int(number), turn["turn"]): json.dumps(turn["calls"], ensure_ascii=False)
        for number, turns in expected.items()
        for turn in turns
    }
    assert not conversations[0] & conversations[1]
    stats = json.loads((tmp_path / "stats.json").read_text())
    for part in (stats["conversations"], stats["steps"]):
        assert part["read"] == part["kept"] + sum(part["dropped"].values())
    assert stats["steps"] == {"read": 266, "kept": 97, "dropped": {"no_call": 169}}


def test_verl_reads_the_files(tmp_path, monkeypatch, qwen_tokenizer):
    rl_dataset = pytest.importorskip("verl.utils.dataset.rl_dataset", reason="needs verl")
    import datasets
    from omegaconf import OmegaConf

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    turns = ("user: first", f"assistant: {CALL}", "tool: [1]", "assistant: Done.", "user: again", f"assistant: {CALL}")
    (tmp_path / "in.json").write_text(json.dumps([record(*turns)] * 3))
    toolace.main(["--input", str(tmp_path / "in.json"), "--output", str(tmp_path), "--test-size", "1"])
    config = OmegaConf.create({"max_prompt_length": 4096, "filter_overlong_prompts_workers": None})
    tokenizer = qwen_tokenizer
    data = rl_dataset.RLHFDataset(str(tmp_path / "train.parquet"), tokenizer, config)
    assert len(data) == 4  # the filter for long prompts, which renders each one, has kept them all
    batch = rl_dataset.collate_fn([data[number] for number in range(4)])
    assert list(batch["index"]) == [0, 1, 2, 3]
    assert json.loads(batch["reward_model"][1]["ground_truth"]) == CALLS
    text = tokenizer.apply_chat_template(list(batch["raw_prompt"][1]), add_generation_prompt=True, tokenize=False)
    system = build_system(TOOLS, KEPT)
    assert text == (
        f"<|im_start|>system\n{system}<|im_end|>\n"
        "<|im_start|>user\nfirst<|im_end|>\n"
        f"<|im_start|>assistant\n{format_call_turn(CALLS)}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n[1]\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nDone.<|im_end|>\n"
        "<|im_start|>user\nagain<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
