"""Asking an endpoint for the replies to cases, a few at a time, each kept in a file as soon as it is there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tooln1.endpoint import Endpoint, ask, ask_all
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


def collect(cases: Sequence[tuple[Key, list[dict[str, str]]]], endpoint: Endpoint, replies: Replies) -> dict[Key, str]:
    """Ask for the reply to every case that has none yet.

    The run stops asking when the endpoint keeps failing; what is left counts as unanswered.

    Returns:
        {case: reason} of those without a reply.

    Raises:
        UserError: the endpoint takes no request at all. The file keeps what there is.
    """

    async def ask_one(client: Any, case: tuple[Key, list[dict[str, str]]]) -> None:
        (benchmark, name), messages = case
        response = await ask(client, endpoint, messages)
        tokens = {"input_tokens": response.input_tokens, "output_tokens": response.output_tokens}
        line = {"benchmark": benchmark, "id": name, "reply": response.text, "finish_reason": response.finish_reason}
        replies.add({**line, **tokens})

    jobs = [None if key in replies.by_case else (key, messages) for key, messages in cases]
    failures = ask_all(endpoint, jobs, ask_one, len(jobs))
    unanswered = {key: reason for (key, _), reason in failures.reasons}
    for key, _ in cases:
        if key not in replies.by_case and key not in unanswered:
            unanswered[key] = f"not asked: the endpoint kept failing ({failures.reasons[-1][1]})"
    return unanswered
