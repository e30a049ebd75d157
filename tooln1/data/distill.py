"""Asking an OpenAI-compatible endpoint for replies to prepared prompts, and keeping those that earn the reward.

That is how the paper filtered DeepSeek-R1's: a reply counts only if its form and its calls are right.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tooln1.data.prepared import Unit, each_row
from tooln1.data.scan import digest
from tooln1.data.sft import earns_reward, with_template
from tooln1.endpoint import HOPELESS, MOST_FAILURES, REFUSED, Endpoint, open_client, run_all, short_error
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


@dataclass
class Asked:
    """What a run of requests came to; `failed` prompts got no reply at all, and are asked again by the next run."""

    failed: int = 0
    failure: str = ""


def collect(
    units: Sequence[Unit],
    teacher: Teacher,
    log: TeacherLog,
    template: str | None = None,
    limit: int | None = None,
    skip_broken: bool = False,
) -> Asked:
    """Ask for replies to every prompt that has none that earns the reward yet, and add them to the log.

    Args:
        template: another template to write the prompts with.
        limit: ask for this many rows at most.
        skip_broken: leave out rows that are not prepared ones, instead of stopping at them.

    Raises:
        UserError: the endpoint refuses, keeps failing, or an input row is broken. The log keeps what there is.
    """
    rows = ((unit, row) for unit in units for _, row in each_row(unit, skip_broken, lambda error: None))
    total = sum(unit.rows for unit in units)
    prompts = _open_prompts(islice(rows, limit), teacher, log, template)
    return asyncio.run(_collect(prompts, teacher, log, min(total, limit or total)))


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


async def _collect(prompts: Iterator[_Prompt | None], teacher: Teacher, log: TeacherLog, total: int) -> Asked:
    asked = Asked()
    in_a_row = 0
    with tqdm(total=total, unit="row", desc=teacher.model, disable=None) as bar:
        async with open_client(teacher, "distill") as client:

            async def work() -> None:
                nonlocal in_a_row
                # The iterator is shared: each worker takes the next prompt when it has finished one.
                for prompt in prompts:
                    if prompt is not None:
                        failure = await _ask(client, teacher, log, prompt)
                        in_a_row = in_a_row + 1 if failure else 0
                        if failure:
                            asked.failed, asked.failure = asked.failed + 1, failure
                        if in_a_row >= MOST_FAILURES:
                            raise UserError(f"{teacher.base_url}: keeps failing ({failure}); {_kept(log)}")
                        bar.set_postfix_str(_progress(teacher, log, bar.format_dict["elapsed"]))
                    bar.update(1)
                    await asyncio.sleep(0)

            await run_all(work() for _ in range(teacher.concurrency))
    if asked.failed and not log.asked:
        raise UserError(f"{teacher.base_url}: not one request succeeded ({asked.failure}); check the address")
    return asked


async def _ask(client: Any, teacher: Teacher, log: TeacherLog, prompt: _Prompt) -> str:
    """Ask until a reply earns the reward or the samples are used up; return what failed, "" if nothing did.

    Raises:
        UserError: the endpoint takes no request at all.
    """
    import openai

    while log.asked[prompt.key] < teacher.samples and prompt.key not in log.rewarded:
        sample = log.asked[prompt.key]
        try:
            answer = await client.chat.completions.create(
                model=teacher.model,
                messages=prompt.messages,
                temperature=teacher.temperature,
                max_tokens=teacher.max_tokens,
                extra_body=dict(teacher.extra) or None,
            )
        except openai.APIStatusError as error:
            if error.status_code in HOPELESS:
                raise UserError(f"{teacher.base_url}: {short_error(error)}; check address, model and key") from None
            if error.status_code not in REFUSED:
                return short_error(error)
            log.add(
                {"prompt": prompt.key, "sample": sample, "response": "", "reward": 0, "refused": short_error(error)}
            )
            continue
        except openai.APIError as error:
            return short_error(error)
        log.add(_line(prompt, sample, answer))
    return ""


def _line(prompt: _Prompt, sample: int, answer: Any) -> dict[str, Any]:
    message = answer.choices[0].message if answer.choices else None
    reasoning = getattr(message, "reasoning", None) or getattr(message, "reasoning_content", None)
    reply = compose_reply(getattr(message, "content", None), reasoning)
    usage = answer.usage
    return {
        "prompt": prompt.key,
        "sample": sample,
        "response": reply,
        "reward": int(earns_reward(prompt.row, reply)),
        "finish_reason": answer.choices[0].finish_reason if answer.choices else None,
        "input_tokens": usage.prompt_tokens if usage else 0,
        "output_tokens": usage.completion_tokens if usage else 0,
    }


def _progress(teacher: Teacher, log: TeacherLog, seconds: float) -> str:
    replies = sum(log.asked.values())
    kept = len(log.rewarded)
    rate = log.tokens["output_tokens"] / seconds if seconds else 0
    return f"{kept:,} of {replies:,} replies earn 1, {rate:,.0f} tokens/s, ${teacher.cost(log.tokens):,.2f}"


def _kept(log: TeacherLog) -> str:
    return f"{sum(log.asked.values()):,} replies are kept, and the same command goes on from there"
