"""What the tests of the reward and of its analysis share: calls, responses, and attempts at gaming."""

from pathlib import Path

import pytest

from tooln1.reward_score import REWARDS as _REWARDS
from tooln1.reward_score import reward_function
from tooln1.reward_score.toolcall import VARIANTS as _VARIANTS

KEYS = ("score", "acc", "format", "tool_name", "arguments")
REWARDS, VARIANTS = tuple(_REWARDS), tuple(_VARIANTS)
THINK = "<think>one call will do</think>"
F1 = '{"name": "f", "arguments": {"x": 1}}'
F2 = '{"name": "f", "arguments": {"x": 2}}'
G1 = '{"name": "g", "arguments": {"x": 1}}'
G2 = '{"name": "g", "arguments": {"x": 2}}'
ONE = f"[{F1}]"
TWO = '[{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {"y": [1, 2], "z": {"a": null}}}]'


def called(text, before=THINK):
    return f"{before}<tool_call>{text}</tool_call>"


def f(x):
    """The text of a single call whose argument is the JSON text x."""
    return f'[{{"name": "f", "arguments": {{"x": {x}}}}}]'


def judge(response, ground_truth=ONE, reward="strict", variant="binary", **kwargs):
    result = reward_function(reward)("toolcall/synthetic", response, ground_truth, variant=variant, **kwargs)
    assert tuple(result) == KEYS and all(type(value) is float for value in result.values())
    return result


def paid(response, ground_truth=ONE, reward="strict", variant="binary"):
    return judge(response, ground_truth, reward, variant)["score"]


def flags(response, ground_truth=ONE, reward="strict"):
    """The diagnostics as a word: f(ormat), n(ame), a(rguments), in capitals where they hold."""
    result = judge(response, ground_truth, reward)
    return "".join("fna"[i].upper() if result[key] else "fna"[i] for i, key in enumerate(KEYS[2:]))


def table(*rows):
    """Rows of test parameters whose last item is the remark that names the case."""
    return [pytest.param(*row[:-1], id=row[-1]) for row in rows]


def _gaming():
    """The table of docs/reward.md: (attempt, response, what strict pays, what paper pays) for the ground truth ONE."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "reward.md").read_text(encoding="utf-8")
    rows = page.partition("| attempt | response | strict | paper |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    for row in rows.splitlines():
        attempt, response, strict, paper = row.replace("\\|", "\0").strip("| ").split(" | ")
        yield attempt, response.strip("`").replace("\0", "|").replace("⏎", "\n"), float(strict), float(paper)


GAMING = list(_gaming())
