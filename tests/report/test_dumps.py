"""The content of a dump: outcomes, groups, and which groups are shown. GRPO's advantages: test_dumps_engine.py."""

import json
import random

import pytest
from verl_run import rollout, write_lines

from tooln1.report import dumps
from tooln1.report.data_sources import DataSources
from tooln1.report.dumps import DumpSettings, clip, read_dump

TRUTH = '[{"name": "f", "arguments": {"x": 1}}]'


def respond(calls, thought="why"):
    return f"<think>{thought}</think><tool_call>{calls}</tool_call>"


RIGHT = respond(TRUTH)
WRONG = respond('[{"name": "f", "arguments": {"x": "1"}}]')


def read(tmp_path, rows, step=1, **settings):
    path = tmp_path / f"{step}.jsonl"
    write_lines(path, rows)
    return read_dump(path, DumpSettings(**settings), DataSources())


@pytest.mark.parametrize(
    "output, outcome, reason",
    [
        (RIGHT, "right", "correct"),
        (WRONG, "wrong arguments", "wrong arguments"),
        (respond('[{"name": "g", "arguments": {"x": 1}}]'), "wrong tool", "wrong tool"),
        (respond("[]"), "wrong tool", "wrong number of calls"),
        (TRUTH, "format wrong", "does not start with <think>"),
        (respond("[", ""), "format wrong", "blank reasoning"),
        ("", "format wrong", "does not start with <think>"),
    ],
)
def test_a_response_has_an_outcome_and_a_reason(output, outcome, reason, tmp_path):
    dump = read(tmp_path, [rollout(output, TRUTH)])
    assert dump.outcomes == {outcome: 1}
    assert [one["reason"] for one in dump.shown[0]["rollouts"]] == [reason]
    assert dump.accuracy == float(outcome == "right")


def test_a_response_to_a_prompt_that_opens_the_reasoning_begins_inside_it(tmp_path):
    inside = {**rollout(RIGHT.removeprefix("<think>"), TRUTH), "input": "assistant\n<think>\n"}
    dump = read(tmp_path, [inside])
    assert dump.outcomes == {"right": 1} and dump.shown[0]["rollouts"][0]["response"] == RIGHT


def test_the_reward_of_the_run_judges(tmp_path):
    loose = f"Sure. {RIGHT} Done."  # the paper's scorer ignores text around the tags
    assert read(tmp_path, [rollout(loose, TRUTH)], reward="paper").outcomes == {"right": 1}
    assert read(tmp_path, [rollout(loose, TRUTH)]).outcomes == {"format wrong": 1}


def test_scores_that_differ_from_the_reward_are_counted(tmp_path):
    assert read(tmp_path, [rollout(WRONG, TRUTH, score=1.0), rollout(RIGHT, TRUTH)]).differing == 1


@pytest.mark.parametrize("truth", ["42", "not JSON", None, '[{"name": "f"}]', {"answer": [42]}, [1]])
def test_the_ground_truth_of_another_task_is_no_tool_call(truth, tmp_path):
    row = rollout(RIGHT, TRUTH, uid="", data_source=["of", "another"]) | {"gts": truth}
    dump = read(tmp_path, [row])
    assert dump.outcomes == {"not a tool call": 1} and dump.accuracy is None
    assert dump.shown[0]["rollouts"][0]["response"] == RIGHT


def test_groups_are_found_by_uid_or_by_prompt(tmp_path):
    rows = [rollout(RIGHT, TRUTH, uid=f"{group}_{number}_0") for group in "ab" for number in range(3)]
    assert [group["size"] for group in read(tmp_path, rows).shown] == [3, 3]
    for row in rows:
        del row["uid"]
    assert [group["size"] for group in read(tmp_path, rows).shown] == [6]


def groups(*kinds):
    outputs = {"all right": [RIGHT] * 2, "mixed": [RIGHT, WRONG], "all wrong": [WRONG] * 2}
    return [
        rollout(output, TRUTH, uid=f"{place}_{number}_0")
        for place, kind in enumerate(kinds)
        for number, output in enumerate(outputs[kind])
    ]


def test_groups_that_disagree_are_shown_first_and_those_that_fail_next(tmp_path):
    dump = read(tmp_path, groups(*["all right"] * 5, *["all wrong"] * 2, "mixed"), groups=4)
    assert dump.groups == {"all right": 5, "all wrong": 2, "mixed": 1}
    assert [group["signal"] for group in dump.shown] == ["mixed", "all wrong", "all wrong", "all right"]


def test_the_seed_decides_which_of_equal_groups_are_shown(tmp_path):
    rows = groups(*["mixed"] * 30)

    def shown(seed):
        return [group["rollouts"][0]["number"] for group in read(tmp_path, rows, groups=5, seed=seed).shown]

    assert shown(0) == shown(0) != shown(1)


def test_a_large_group_is_shown_in_part_failures_first(tmp_path):
    rows = [rollout(RIGHT if number else WRONG, TRUTH, uid=f"a_{number}_0") for number in range(40)]
    (group,) = read(tmp_path, rows).shown
    assert group["size"] == 40 and len(group["rollouts"]) == dumps.MOST_OF_A_GROUP
    assert group["rollouts"][0]["outcome"] == "wrong arguments"


def test_a_line_of_a_megabyte_is_cut_around_its_mistake(tmp_path):
    output = "<think>" + "a" * 500_000 + "<tool_call>" + "b" * 500_000
    (one,) = read(tmp_path, [rollout(output, TRUTH)]).shown[0]["rollouts"]
    assert len(one["response"]) < 2 * dumps.LONGEST_TEXT
    assert one["response"][one["mistake"] :].startswith("<tool_call>")


def test_clipping_keeps_the_mistake_wherever_it_is():
    rng = random.Random(0)
    text = "".join(map(chr, rng.choices(range(97, 123), k=20_000)))
    for mistake in [0, 1, 1499, 1500, 1501, 2999, 3001, 10_000, 18_499, 18_500, 18_501, 19_999]:
        short, place = clip(text, mistake)
        assert short[place : place + 8] == text[mistake : mistake + 8], mistake
    assert clip(text, len(text))[1] == len(clip(text, len(text))[0])


def test_damage_is_noted_and_the_rest_is_read(tmp_path):
    path = tmp_path / "3.jsonl"
    good = json.dumps(rollout(RIGHT, TRUTH)).encode()
    path.write_bytes(good + b'\n{"input": "\xff\xfe", "output": "x", "gts": "[]", "score": 0}\n' + good[:40])
    dump = read_dump(path, DumpSettings(), DataSources())
    assert dump.rollouts == 2
    assert any("unfinished" in note for note in dump.notes) and any("UTF-8" in note for note in dump.notes)


def test_a_dump_without_rollouts_is_noted(tmp_path):
    assert read(tmp_path, [{"loss": 1.0}]).notes == ["1.jsonl: holds no rollouts"]


def test_sources_with_the_same_ground_truth_are_told_apart_by_the_last_turn():
    sources = DataSources()
    sources.add("[]", "call a taxi", "one")
    sources.add("[]", "call", "two")
    assert sources.find("[]", "user\ncall a taxi\nassistant") == "one"
    assert sources.find("[]", "user\ncall\nassistant") == "two"
    assert sources.find("[]", "user\nnothing") is None and sources.find("{}", "call") is None
