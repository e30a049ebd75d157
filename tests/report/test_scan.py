"""What a dump holds: outcomes, groups, advantages, and which groups are shown."""

import json
import random

import pytest
from verl_run import rollout, write_lines

from tooln1.report import scan as scanning
from tooln1.report.scan import ScanSettings, clip, scan_dump
from tooln1.report.sources import SourceIndex

REFERENCE = '[{"name": "f", "arguments": {"x": 1}}]'


def reply(calls, thought="why"):
    return f"<think>{thought}</think><tool_call>{calls}</tool_call>"


RIGHT = reply(REFERENCE)
WRONG = reply('[{"name": "f", "arguments": {"x": "1"}}]')


def dump(tmp_path, rows, step=1, **settings):
    path = tmp_path / f"{step}.jsonl"
    write_lines(path, rows)
    return scan_dump(path, step, ScanSettings(**settings), SourceIndex())


@pytest.mark.parametrize(
    "output, outcome, reason",
    [
        (RIGHT, "right", "correct"),
        (WRONG, "wrong arguments", "wrong arguments"),
        (reply('[{"name": "g", "arguments": {"x": 1}}]'), "wrong tool", "wrong tool"),
        (reply("[]"), "wrong tool", "wrong number of calls"),
        (REFERENCE, "format wrong", "does not start with <think>"),
        (reply("[", ""), "format wrong", "blank reasoning"),
        ("", "format wrong", "does not start with <think>"),
    ],
)
def test_outcome_and_reason_of_a_reply(output, outcome, reason, tmp_path):
    scan = dump(tmp_path, [rollout(output, REFERENCE)])
    assert scan.outcomes == {outcome: 1}
    assert [one.reason for one in scan.shown[0].rollouts] == [reason]
    assert scan.accuracy == float(outcome == "right")


def test_a_dump_that_holds_the_rewards_keys_is_believed(tmp_path):
    keys = {"score": 1.0, "acc": 1.0, "format": 1.0, "tool_name": 1.0, "arguments": 1.0}
    assert dump(tmp_path, [rollout(WRONG, REFERENCE, **keys)]).outcomes == {"right": 1}


def test_a_score_that_the_reward_does_not_give_is_counted(tmp_path):
    rows = [rollout(WRONG, REFERENCE, score=1.0), rollout(RIGHT, REFERENCE)]
    assert dump(tmp_path, rows).differing == 1
    assert dump(tmp_path, rows, compares=False).differing == 0


@pytest.mark.parametrize("reference", ["42", "not JSON", None, '[{"name": "f"}]', {"answer": [42]}, [1]])
def test_a_reference_of_another_task_is_no_tool_call(reference, tmp_path):
    row = rollout(RIGHT, REFERENCE, uid="", data_source=["of", "another"]) | {"gts": reference}
    scan = dump(tmp_path, [row])
    assert scan.outcomes == {"not a tool call": 1} and scan.accuracy is None
    assert scan.shown[0].rollouts[0].reply == RIGHT


def test_groups_are_those_of_the_uid_and_without_one_of_the_prompt(tmp_path):
    rows = [rollout(RIGHT, REFERENCE, uid=f"{group}_{number}_0") for group in "ab" for number in range(3)]
    assert dump(tmp_path, rows).group_sizes == {3: 2}
    for row in rows:
        del row["uid"]
    assert dump(tmp_path, rows).group_sizes == {6: 1}


def groups(*kinds):
    outputs = {"all right": [RIGHT] * 2, "mixed": [RIGHT, WRONG], "all wrong": [WRONG] * 2}
    return [
        rollout(output, REFERENCE, uid=f"{place}_{number}_0")
        for place, kind in enumerate(kinds)
        for number, output in enumerate(outputs[kind])
    ]


def test_groups_without_signal_are_counted(tmp_path):
    scan = dump(tmp_path, groups("all right", "mixed", "all wrong", "mixed"))
    assert scan.groups == {"all right": 1, "mixed": 2, "all wrong": 1}


def test_groups_that_disagree_are_shown_first_and_those_that_fail_next(tmp_path):
    rows = groups(*["all right"] * 5, *["all wrong"] * 2, "mixed")
    assert [group.signal for group in dump(tmp_path, rows, groups=4).shown] == [
        "mixed",
        "all wrong",
        "all wrong",
        "all right",
    ]


def test_the_seed_decides_which_of_equal_groups_are_shown(tmp_path):
    rows = groups(*["mixed"] * 30)
    shown = [
        [group.rollouts[0].number for group in dump(tmp_path, rows, groups=5, seed=seed).shown] for seed in (0, 0, 1)
    ]
    assert shown[0] == shown[1] != shown[2]


@pytest.mark.parametrize("scores", [[1.0, 0.0, 0.0, 1.0, 0.0], [0.2, 1.0, 0.0], [0.0, 0.0], [1.0]])
@pytest.mark.parametrize("by_std", [True, False])
def test_advantages_are_verls(scores, by_std, tmp_path):
    torch = pytest.importorskip("torch")
    numpy = pytest.importorskip("numpy")
    from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

    rewards = torch.tensor(scores).unsqueeze(1)
    theirs, _ = compute_grpo_outcome_advantage(
        rewards, torch.ones_like(rewards), numpy.array(["a"] * len(scores)), norm_adv_by_std_in_grpo=by_std
    )
    rows = [rollout(WRONG, REFERENCE, uid=f"a_{number}_0", score=score) for number, score in enumerate(scores)]
    ours = [one.advantage for one in dump(tmp_path, rows, by_std=by_std).shown[0].rollouts]
    assert ours == pytest.approx(theirs[:, 0].tolist(), abs=1e-5)


def test_a_large_group_is_shown_in_part_failures_first(tmp_path):
    rows = [rollout(RIGHT if number else WRONG, REFERENCE, uid=f"a_{number}_0") for number in range(40)]
    (group,) = dump(tmp_path, rows).shown
    assert group.size == 40 and len(group.rollouts) == scanning.MOST_OF_A_GROUP
    assert group.rollouts[0].outcome == "wrong arguments"


def test_a_line_of_a_megabyte_is_cut_around_its_fault(tmp_path):
    output = "<think>" + "a" * 500_000 + "<tool_call>" + "b" * 500_000
    (one,) = dump(tmp_path, [rollout(output, REFERENCE)]).shown[0].rollouts
    assert len(one.reply) < 2 * scanning.LONGEST_TEXT
    assert one.reply[one.fault :].startswith("<tool_call>")


def test_clipping_keeps_the_fault_wherever_it_is():
    rng = random.Random(0)
    text = "".join(map(chr, rng.choices(range(97, 123), k=20_000)))
    for fault in [0, 1, 1499, 1500, 1501, 2999, 3001, 10_000, 18_499, 18_500, 18_501, 19_999]:
        short, place = clip(text, fault)
        assert short[place : place + 8] == text[fault : fault + 8], fault
    assert clip(text, len(text))[1] == len(clip(text, len(text))[0])


def test_damage_is_noted_and_the_rest_is_read(tmp_path):
    path = tmp_path / "3.jsonl"
    good = json.dumps(rollout(RIGHT, REFERENCE)).encode()
    path.write_bytes(good + b'\n{"input": "\xff\xfe", "output": "x", "gts": "[]", "score": 0}\n' + good[:40])
    scan = scan_dump(path, 3, ScanSettings(), SourceIndex())
    assert scan.rollouts == 2
    assert any("unfinished" in note for note in scan.notes) and any("UTF-8" in note for note in scan.notes)


def test_a_dump_without_rollouts_says_so(tmp_path):
    assert dump(tmp_path, [{"loss": 1.0}]).notes == ["1.jsonl: holds no rollouts"]
