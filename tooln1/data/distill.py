"""Asking an OpenAI-compatible endpoint for replies to prepared prompts, and keeping those that earn the reward.

That is how the paper filtered DeepSeek-R1's: a reply counts only if its form and its calls are right.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tooln1.data.prepared import Unit, each_row
from tooln1.data.scan import digest
from tooln1.data.sft import earns_reward, with_template
from tooln1.endpoint import Endpoint, Failures, NoResponse, ask, ask_all
from tooln1.errors import UserError
from tooln1.response_log import ResponseLog


@dataclass(frozen=True, kw_only=True)
class Teacher(Endpoint):
    """An endpoint that is asked up to `samples` times a prompt. Prices are dollars for a million tokens.

    No seed is sent: few endpoints honour one, and vLLM 0.28 on a CPU ends at a seeded request that it takes in pieces.
    """

    samples: int = 1
    input_price: float = 0.0
    output_price: float = 0.0

    def cost(self, tokens: Mapping[str, int]) -> float:
        """Return the price in dollars of {"input_tokens", "output_tokens"}."""
        return (tokens["input_tokens"] * self.input_price + tokens["output_tokens"] * self.output_price) / 1e6


class TeacherLog(ResponseLog):
    """Responses to prompts, {"prompt", "response", "reward", "input_tokens", "output_tokens", …}, with their counts.

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


def collect(
    units: Sequence[Unit],
    teacher: Teacher,
    log: TeacherLog,
    template: str | None = None,
    limit: int | None = None,
    skip_broken: bool = False,
) -> Failures:
    """Ask for responses to every prompt that has none that earns the reward yet, and add them to the log.

    Args:
        template: another template to write the prompts with.
        limit: ask for this many rows at most.
        skip_broken: leave out rows that are not prepared ones, instead of stopping at them.

    Returns:
        The prompts without any response; the next run asks them again.

    Raises:
        UserError: the endpoint refuses, keeps failing, or an input row is broken. The log keeps what there is.
    """
    rows = ((unit, row) for unit in units for _, row in each_row(unit, skip_broken, lambda error: None))
    total = sum(unit.rows for unit in units)
    prompts = _open_prompts(islice(rows, limit), teacher, log, template)
    failures = ask_all(
        teacher,
        prompts,
        lambda client, prompt: _ask(client, teacher, log, prompt),
        min(total, limit or total),
        lambda seconds: _progress(teacher, log, seconds),
    )
    responses = sum(log.asked.values())
    if failures.stopped:
        raise UserError(
            f"{teacher.base_url}: keeps failing ({failures.reasons[-1][1]}); {responses:,} responses are kept, and the "
            "same command resumes from there"
        )
    if failures.reasons and not responses:
        raise UserError(f"{teacher.base_url}: not one request succeeded ({failures.reasons[-1][1]}); check the address")
    return failures


def compose_reply(content: str | None, reasoning: str | None) -> str:
    """Return a reply in one text: some servers return the reasoning apart, or without the tag that opened it."""
    content = (content or "").strip()
    if reasoning and reasoning.strip() and "<think>" not in content:
        return f"<think>{reasoning.strip()}</think>\n{content}"
    if "</think>" in content and not content.startswith("<think>"):
        return f"<think>{content}"
    return content


@dataclass(frozen=True)
class _Prompt:
    key: str
    messages: list[dict[str, str]]
    row: dict[str, Any]


def _open_prompts(
    rows: Iterable[tuple[Unit, dict[str, Any]]], teacher: Teacher, log: TeacherLog, template: str | None
) -> Iterator[_Prompt | None]:
    """Yield each prompt that is to be asked, None for a row that needs it no more."""
    seen: set[str] = set()
    for unit, row in rows:
        messages = with_template(row["prompt"], unit.template, template)
        key = digest(messages).hex()
        done = key in log.rewarded or log.asked[key] >= teacher.samples or key in seen
        seen.add(key)
        yield None if done else _Prompt(key, messages, row)


async def _ask(client: Any, teacher: Teacher, log: TeacherLog, prompt: _Prompt) -> None:
    """Ask until a response earns the reward or the samples are used up.

    Raises:
        NoResponse: a request failed.
        UserError: no request at all can succeed.
    """
    while log.asked[prompt.key] < teacher.samples and prompt.key not in log.rewarded:
        line = {"prompt": prompt.key, "sample": log.asked[prompt.key]}
        try:
            response = await ask(client, teacher, prompt.messages)
        except NoResponse as error:
            if not error.refused:
                raise
            log.add({**line, "response": "", "reward": 0, "refused": str(error)})
            continue
        text = compose_reply(response.content, response.reasoning)
        log.add(
            {
                **line,
                "response": text,
                "reward": int(earns_reward(prompt.row, text)),
                "finish_reason": response.finish_reason,
                "input_tokens": response.input_tokens,
                "output_tokens": response.output_tokens,
            }
        )


def _progress(teacher: Teacher, log: TeacherLog, seconds: float) -> str:
    replies = sum(log.asked.values())
    kept = len(log.rewarded)
    rate = log.tokens["output_tokens"] / seconds if seconds else 0
    return f"{kept:,} of {replies:,} replies earn 1, {rate:,.0f} tokens/s, ${teacher.cost(log.tokens):,.2f}"
