"""What callers rely on: broken ground truths raise and name the row, keywords, threads, imports."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from toolcall_cases import F1, G2, KEYS, ONE, REWARDS, called, f, judge, paid, table

from tooln1.reward_score import reward_function, reward_name, toolcall


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize(
    "ground_truth",
    table(
        ("", "empty"),
        ("f(x=1)", "not JSON"),
        (f"[{F1}", "cut"),
        (ONE + " ok", "something after"),
        ("5", "a number"),
        ("null", "null"),
        ('"[]"', "encoded twice"),
        (F1, "one object"),
        ("[5]", "an item that is no object"),
        ('[{"name": "f"}]', "no arguments"),
        ('[{"arguments": {}}]', "no name"),
        ('[{"name": ["f"], "arguments": {}}]', "a name that is a list"),
        ("[" * 99999, "deep nesting"),
        (None, "missing"),
        ([{"name": "f", "arguments": {}}], "decoded already"),
        (b"[]", "bytes"),
        (5, "no text"),
    ),
)
def test_a_broken_ground_truth_raises_and_names_the_row(ground_truth, reward):
    for response in ("", called("[]")):
        for index in (17, 0):
            with pytest.raises(ValueError, match=f"broken ground truth of row {index}: "):
                reward_function(reward)("d", response, ground_truth, {"index": index})
        for extra_info in (None, {}, {"index": None}, {"split": "train"}):
            with pytest.raises(ValueError, match="broken ground truth: "):
                reward_function(reward)("d", response, ground_truth, extra_info)


def test_the_error_says_what_is_wrong_and_shows_the_value():
    with pytest.raises(ValueError, match=r"item 1 is not an object .*; it reads '\[.*, 5\]'$"):
        judge("", f"[{F1}, 5]")
    with pytest.raises(ValueError, match="JSON text expected, not list; it reads "):
        judge("", [{"name": "f", "arguments": {}}])


@pytest.mark.parametrize(
    "ground_truth",
    table(
        ('[{"name": "f", "arguments": {}, "id": 0}]', "a further key"),
        (f("NaN"), "NaN"),
        ('[{"name": "f", "arguments": {"x": 1, "x": 1}}]', "a repeated key"),
        ('[{"name": "f", "arguments": []}]', "a list of arguments"),
        ('[{"name": 1, "arguments": {}}]', "a name that is a number"),
    ),
)
def test_a_ground_truth_outside_the_strict_grammar_is_broken_in_strict_only(ground_truth):
    with pytest.raises(ValueError, match="row 3"):
        judge(called("[]"), ground_truth, extra_info={"index": 3})
    assert paid(called(ground_truth), ground_truth, "paper") == 1.0


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("variant", ["binry", "", None])
def test_an_unknown_variant_is_named(variant, reward):
    with pytest.raises(ValueError, match=f"variant={variant!r} is not one of binary, binary_no_reason"):
        judge("", ONE, reward, variant)


def test_verl_calls_it_by_keyword_and_adds_other_keywords():
    result = toolcall.compute_score(
        data_source="toolcall/xlam",
        solution_str=called(ONE),
        ground_truth=ONE,
        extra_info={"index": 0, "num_turns": None, "rollout_reward_scores": {}},
        reward_router_address="localhost:1",
        reward_model_tokenizer=None,
    )
    assert result == dict.fromkeys(KEYS, 1.0)


@pytest.mark.parametrize("reward", REWARDS)
def test_after_a_prompt_that_opens_the_reasoning_the_response_begins_inside_it(reward):
    judged = [judge(response, reward=reward, prompt_opens_think=True)["acc"] for response in INSIDE]
    assert judged == [1.0, 0.0, 0.0 if reward == "strict" else 1.0]
    assert judge(INSIDE[0], reward=reward)["format"] == 0.0


INSIDE = (f"one call</think>\n<tool_call>{ONE}</tool_call>", f"<tool_call>{ONE}</tool_call>", called(ONE))


def test_threads_share_a_ground_truth_without_disturbing_it():
    texts = [f"[{F1},{G2}]", f"[{G2},{F1}]", f"[{F1},{F1}]", ONE, "[]"]
    jobs = [(called(text), ground_truth, reward) for text in texts for ground_truth in texts for reward in REWARDS] * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda job: judge(*job), jobs)) == [judge(*job) for job in jobs]


def test_the_file_works_alone_on_the_standard_library(tmp_path):
    shutil.copy(toolcall.__file__, tmp_path / "alone.py")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import alone; "
    code += f"print(alone.compute_score('', {called(ONE)!r}, {ONE!r})['score'])"
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True).stdout == "1.0\n"


def test_the_path_of_a_configuration_names_the_reward():
    names = {f"pkg://tooln1.reward_score.toolcall{end}": name for end, name in (("", "strict"), ("_paper", "paper"))}
    names |= {"/home/me/tooln1/reward_score/toolcall.py": "strict", "my_reward.py": None, "": None, None: None}
    assert {path: reward_name(path) for path in names} == names
