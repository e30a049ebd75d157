"""The teacher of the warm start: its careful responses are right, its hasty ones wrong but for single strings."""

import json
import random

import pytest

from tooln1.reward_score.toolcall import compute_score
from tooln1.tiny import rows
from tooln1.tiny.world import KINDS, World


@pytest.fixture(scope="module")
def world():
    return World(0)


def score(response, task):
    return compute_score("toolcall/synthetic", response, json.dumps(task.calls))["score"]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_careful_response_earns_the_reward(kind, split, world):
    rng = random.Random(kind)
    for task in (world.task(kind, split, rng) for _ in range(100)):
        assert score(rows.careful_response(task), task) == 1.0, task


@pytest.mark.parametrize("kind", KINDS)
def test_a_hasty_response_earns_the_reward_for_a_single_string_only(kind, world):
    rng = random.Random(kind)
    for task in (world.task(kind, "train", rng) for _ in range(100)):
        response = rows.hasty_response(task)
        assert score(response, task) == (1.0 if kind == "string" else 0.0), (task, response)
        # Wrong in the calls, not in the form: the reward of the form alone would teach nothing.
        assert compute_score("toolcall/synthetic", response, json.dumps(task.calls))["format"] == 1.0


def test_the_same_holds_for_every_further_request(world):
    rng = random.Random(0)
    for _ in range(300):
        task = world.next_task(world.task(rows.draw_kind(rng), "train", rng).tools, "train", rng)
        assert score(rows.careful_response(task), task) == 1.0
        assert score(rows.hasty_response(task), task) == (1.0 if task.kind == "string" else 0.0)


@pytest.fixture(scope="module")
def conversations():
    return list(rows.demonstrations(World(0), 400, 0))


def test_a_demonstration_answers_several_requests_to_one_system_message(conversations):
    for messages in conversations:
        roles = [message["role"] for message in messages]
        assert roles[0] == "system" and roles.count("system") == 1
        assert roles[1] == "user" and roles[-1] == "assistant"
        assert roles.count("assistant") == rows.TURNS
        # A tool's result stands between the response that called and the request that builds on it.
        results = [at for at, role in enumerate(roles) if role == "tool"]
        assert all((roles[at - 1], roles[at + 1]) == ("assistant", "user") for at in results)
    assert any("tool" in [message["role"] for message in messages] for messages in conversations)


def test_the_teacher_is_careful_in_its_share_of_the_responses(conversations):
    responses = [m["content"] for messages in conversations for m in messages if m["role"] == "assistant"]
    thoughts = [response.split("</think>")[0] for response in responses]
    careful = sum(":" in thought or "no tool fits" in thought for thought in thoughts)
    # 2400 responses: three standard deviations are 0.03.
    assert careful / len(responses) == pytest.approx(rows.CAREFUL, abs=0.03)


def test_the_same_seed_draws_the_same_demonstrations(conversations):
    assert list(rows.demonstrations(World(0), 20, 0)) == conversations[:20]
    assert list(rows.demonstrations(World(0), 20, 1)) != conversations[:20]
