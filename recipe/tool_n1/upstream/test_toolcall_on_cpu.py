# Copyright 2025 Individual Contributor: The tooln1 authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The reward for tool calling, through default_compute_score."""

import pytest

from verl.utils.reward_score import default_compute_score

KEYS = ["score", "acc", "format", "tool_name", "arguments"]
CALLS = '[{"name": "get_weather", "arguments": {"city": "Oslo", "days": 3}}]'
THINK = "<think>The user wants a forecast.</think>"


def called(calls, before=THINK):
    return f"{before}\n<tool_call>{calls}</tool_call>"


def score(response, ground_truth=CALLS, **kwargs):
    return default_compute_score("toolcall/xlam", response, ground_truth, extra_info={"index": 7}, **kwargs)


@pytest.mark.parametrize(
    "response, expected",
    [
        (called(CALLS), [1.0, 1.0, 1.0, 1.0, 1.0]),
        (called('[{"arguments": {"days": 3, "city": "Oslo"}, "name": "get_weather"}]'), [1.0, 1.0, 1.0, 1.0, 1.0]),
        (called(CALLS.replace("3", "4")), [0.0, 0.0, 1.0, 1.0, 0.0]),
        (called(CALLS.replace("3", "3.0")), [0.0, 0.0, 1.0, 1.0, 0.0]),
        (called(CALLS.replace("get_weather", "get_time")), [0.0, 0.0, 1.0, 0.0, 0.0]),
        (called(CALLS, before=""), [0.0, 0.0, 0.0, 1.0, 1.0]),
        (called(CALLS) + " Anything else?", [0.0, 0.0, 0.0, 0.0, 0.0]),
        (called("[oops]"), [0.0, 0.0, 0.0, 0.0, 0.0]),
        (called("5"), [0.0, 0.0, 0.0, 0.0, 0.0]),
        (called("[" * 100_000), [0.0, 0.0, 0.0, 0.0, 0.0]),
        (THINK + "<tool_call>" * 8192, [0.0, 0.0, 0.0, 0.0, 0.0]),
        ("", [0.0, 0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_every_response_gets_the_same_keys(response, expected):
    result = score(response)
    assert list(result) == KEYS
    assert list(result.values()) == expected


def test_no_call_is_expected():
    assert score(called("[]"), "[]")["score"] == 1.0
    assert score(called("[]"))["score"] == 0.0


def test_the_variant_is_passed_on():
    assert score(called(CALLS.replace("3", "4")), variant="partial_reason_name")["score"] == pytest.approx(0.4)


def test_what_the_reward_loop_adds_is_ignored():
    assert score(called(CALLS), reward_router_address="localhost:1", reward_model_tokenizer=None)["score"] == 1.0


@pytest.mark.parametrize("ground_truth", ["", "get_weather(city='Oslo')", "5", '[{"name": "f"}]', None])
def test_a_broken_ground_truth_raises_and_names_the_row(ground_truth):
    with pytest.raises(ValueError, match="row 7"):
        score(called(CALLS), ground_truth)
