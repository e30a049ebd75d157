"""Asking an endpoint for the replies to cases, a few at a time, each kept in a file as soon as it is there."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tooln1.endpoint import MOST_FAILURES, open_client, run_all
from tooln1.eval.endpoint import EvalEndpoint, Unanswered, ask
from tooln1.response_log import ResponseLog

# A case in the file: its benchmark's name and its id.
Key = tuple[str, str]


class Replies(ResponseLog):
    """The replies of a run by case: {"benchmark", "id", "reply", "finish_reason", "input_tokens", "output_tokens"}."""

    def __init__(self, path: str | Path, settings: Mapping[str, Any]):
        """As for `ResponseLog`."""
        super().__init__(path, settings, ("benchmark", "id", "reply"))
        self.by_case: dict[Key, Mapping[str, Any]] = {}
        for line in self:
            self._count(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """Append one reply. Raises UserError if it cannot be written."""
        super().add(line)
        self._count(line)

    def _count(self, line: Mapping[str, Any]) -> None:
        self.by_case.setdefault((line["benchmark"], line["id"]), line)


def collect(
    cases: Sequence[tuple[Key, list[dict[str, str]]]], endpoint: EvalEndpoint, replies: Replies
) -> dict[Key, str]:
    """Ask for the reply to every case that has none yet.

    The run stops asking when the endpoint keeps failing; what is left counts as unanswered.

    Returns:
        {case: reason} of those without a reply.

    Raises:
        UserError: the endpoint takes no request at all. The file keeps what there is.
    """
    return asyncio.run(_collect(cases, endpoint, replies))


async def _collect(cases: Sequence[tuple[Key, list]], endpoint: EvalEndpoint, replies: Replies) -> dict[Key, str]:
    unanswered: dict[Key, str] = {}
    waiting = [(key, messages) for key, messages in cases if key not in replies.by_case]
    done = len(cases) - len(waiting)
    with tqdm(total=len(cases), initial=done, unit="case", desc=endpoint.model, disable=None) as bar:
        async with open_client(endpoint, "eval") as client:
            left = iter(waiting)
            workers = _Workers(client, endpoint, replies, unanswered, bar)
            await run_all(workers.work(left) for _ in range(min(endpoint.concurrency, len(waiting))))
    for key, _ in waiting:
        if key not in replies.by_case and key not in unanswered:
            unanswered[key] = f"not asked: the endpoint kept failing ({workers.failure})"
    return unanswered


class _Workers:
    """What the workers of one run share: the client, the results and the count of failures in a row."""

    def __init__(self, client: Any, endpoint: EvalEndpoint, replies: Replies, unanswered: dict[Key, str], bar: tqdm):
        self._client, self._endpoint = client, endpoint
        self._replies, self._unanswered, self._bar = replies, unanswered, bar
        self._failures = 0
        self.failure = ""

    async def work(self, left: Iterator[tuple[Key, list[dict[str, str]]]]) -> None:
        # The iterator is shared: each worker takes the next case when it has finished one.
        for key, messages in left:
            await self._ask(key, messages)
            self._bar.update(1)
            if self._failures >= MOST_FAILURES:
                return

    async def _ask(self, key: Key, messages: list[dict[str, str]]) -> None:
        try:
            answer = await ask(self._client, self._endpoint, messages)
        except Unanswered as error:
            self._unanswered[key] = self.failure = str(error)
            # A prompt that is refused, as too long for instance, says nothing about the next one.
            self._failures += not error.lasting
            return
        self._failures = 0
        benchmark, name = key
        self._replies.add({"benchmark": benchmark, "id": name, **vars(answer)})
