"""Asking an OpenAI-compatible endpoint for responses to prepared prompts, and scoring them.

The paper filtered the responses of DeepSeek-R1 so: a response counts only if its form and its calls are right.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tooln1.data.prepared import PreparedRow, with_template
from tooln1.data.rows import digest, earns_reward
from tooln1.endpoint import Endpoint, Response, ask, ask_all
from tooln1.response_log import ResponseLog


@dataclass(frozen=True, kw_only=True)
class Teacher(Endpoint):
    """An endpoint that gets up to `samples` requests a prompt. Prices are dollars for a million tokens.

    No seed is sent: few endpoints honour one, and vLLM 0.28 on a CPU crashes on a seeded request with chunked prefill.
    """

    samples: int = 1
    input_price: float = 0.0
    output_price: float = 0.0

    def cost(self, tokens: Mapping[str, int]) -> float:
        """Return the price in dollars of {"input_tokens", "output_tokens"}."""
        return (tokens["input_tokens"] * self.input_price + tokens["output_tokens"] * self.output_price) / 1e6


class TeacherLog(ResponseLog):
    """A log of {"prompt", "response", "reward", "input_tokens", "output_tokens", …} with its counts.

    `asked` counts the responses to each prompt, `rewarded` holds the prompts with one that earned the reward.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]):
        """As for `ResponseLog`."""
        super().__init__(path, settings, ("prompt", "response", "reward"))
        self.asked: Counter[str] = Counter()
        self.rewarded: set[str] = set()
        self.tokens: Counter[str] = Counter(input_tokens=0, output_tokens=0)
        for line in self:
            self._count(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """Append one response. Raises UserError if it cannot be written."""
        super().add(line)
        self._count(line)

    def _count(self, line: Mapping[str, Any]) -> None:
        self.asked[line["prompt"]] += 1
        if line["reward"] == 1:
            self.rewarded.add(line["prompt"])
        for name in self.tokens:
            self.tokens[name] += line.get(name) or 0


@dataclass(frozen=True)
class _Prompt:
    key: str
    messages: list[dict[str, str]]
    row: dict[str, Any]


def collect(
    prepared: Sequence[PreparedRow], teacher: Teacher, log: TeacherLog, template: str | None = None
) -> list[str]:
    """Ask for responses to every prompt that has none that earns the reward yet, and add them to the log.

    Args:
        template: another template to write the prompts with.

    Returns:
        Why requests failed, one reason for each prompt without a response. The next run asks them again.

    Raises:
        UserError: the endpoint gives no responses (`ask_all`). The log keeps what there is.
    """
    prompts: dict[str, _Prompt] = {}
    for one in prepared:
        messages = with_template(one, template)
        key = digest(messages).hex()
        if key not in log.rewarded and log.asked[key] < teacher.samples:
            prompts.setdefault(key, _Prompt(key, messages, one.row))
    asking = ask_all(
        teacher,
        prompts.values(),
        lambda client, prompt: _ask(client, teacher, log, prompt),
        done=len(log.asked.keys() - prompts.keys()),
        progress=lambda seconds: _progress(teacher, log, seconds),
    )
    return [reason for _, reason in asyncio.run(asking)]


async def _ask(client: Any, teacher: Teacher, log: TeacherLog, prompt: _Prompt) -> None:
    """Ask until a response earns the reward or the samples are used up.

    Raises:
        NoResponse: a request failed.
        UserError: no request at all can succeed.
    """
    while log.asked[prompt.key] < teacher.samples and prompt.key not in log.rewarded:
        response = await ask(client, teacher, prompt.messages)
        text = compose_response(response)
        log.add(
            {
                "prompt": prompt.key,
                "sample": log.asked[prompt.key],
                "response": text,
                "reward": int(earns_reward(prompt.row, text)),
                "finish_reason": response.finish_reason,
                "input_tokens": response.input_tokens,
                "output_tokens": response.output_tokens,
            }
        )


def compose_response(response: Response) -> str:
    """Return a response as one text: some servers return the reasoning apart, or without its opening tag."""
    content, reasoning = response.content.strip(), response.reasoning.strip()
    if reasoning and "<think>" not in content:
        return f"<think>{reasoning}</think>\n{content}"
    if "</think>" in content and not content.startswith("<think>"):
        return f"<think>{content}"
    return content


def _progress(teacher: Teacher, log: TeacherLog, seconds: float) -> str:
    speed = log.tokens["output_tokens"] / seconds if seconds else 0
    earned = f"{len(log.rewarded):,} of {log.asked.total():,} responses earn 1"
    return f"{earned}, {speed:,.0f} tokens/s, ${teacher.cost(log.tokens):,.2f}"
