"""Asking an OpenAI-compatible endpoint for responses: what distillation and evaluation share.

The client is OpenAI's own: it repeats a failed request (too many requests, server errors, lost connections, timeouts),
waiting longer each time, or as long as the server says.

There are two interfaces, because a response must be judged as the model wrote it:

- "completions": the server's chat template renders the prompt through vLLM's /tokenize. The tokens go to
  /v1/completions, whose text no reasoning parser or tool parser has changed. It needs a server that has both.
- "chat": /v1/chat/completions. A server may return the reasoning apart from the content.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tqdm import tqdm

from tooln1.errors import UserError
from tooln1.files import decode_json, one_line

try:
    import openai
except ImportError:
    openai = None  # only open_client needs to know

Messages = list[dict[str, str]]

# After this many failed requests in a row, the endpoint itself is the trouble.
MOST_FAILURES = 20
# A wrong key, a missing right, an unknown model or address: every other request would fail too.
_HOPELESS = (401, 403, 404)
# The prompt is refused, for instance because it is too long. Other prompts may pass.
_REFUSED = (400, 413, 422)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where and how to ask; ``extra`` is added to every request's body, ``timeout`` is in seconds.

    ``seed`` is sent only with a temperature above 0: vLLM 0.28 on a CPU fails at some seeded requests.
    """

    base_url: str
    model: str
    api_key: str = "none"
    interface: str = "chat"
    temperature: float = 0.0
    seed: int | None = None
    max_tokens: int = 8192
    concurrency: int = 32
    retries: int = 6
    timeout: float = 600.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Return the settings that decide the responses: a run resumes only with the same."""
        names = ("model", "interface", "temperature", "seed", "max_tokens", "extra")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Response:
    """What the model wrote, why it ended, and the number of tokens; ``reasoning`` is what the server returned apart."""

    content: str
    reasoning: str
    finish_reason: str | None
    input_tokens: int
    output_tokens: int

    @property
    def text(self) -> str:
        """The whole response; a response without <think> looks like one with it where the reasoning comes apart."""
        return f"<think>{self.reasoning}</think>{self.content}" if self.reasoning else self.content


class NoResponse(Exception):
    """Raised when a prompt gets no response; the message is the reason. ``refused``: asking again would not help."""

    def __init__(self, reason: str, refused: bool = False):
        super().__init__(reason)
        self.refused = refused


def open_client(endpoint: Endpoint) -> "openai.AsyncOpenAI":
    """Return OpenAI's client for an endpoint, for an `async with` block. Raises UserError if it is not installed."""
    if openai is None:
        raise UserError("OpenAI's client is missing; run: pip install openai")
    return openai.AsyncOpenAI(
        base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=endpoint.retries, timeout=endpoint.timeout
    )


async def resolve(endpoint: Endpoint) -> Endpoint:
    """Fill in the model, by default the endpoint's first, and the interface "auto": completions where it works.

    Raises UserError if the endpoint does not answer, or lists no model.
    """
    async with open_client(endpoint) as client:
        try:
            model = endpoint.model or await _first_model(client)
            if endpoint.interface != "auto":
                return replace(endpoint, model=model)
            try:
                await render(client, model, [{"role": "user", "content": "Hello"}])
            except (openai.APIStatusError, NoResponse):
                return replace(endpoint, model=model, interface="chat")
            return replace(endpoint, model=model, interface="completions")
        except openai.APIError as error:
            raise UserError(f"{endpoint.base_url}: {_describe(error)}; check the address and the key") from None


async def _first_model(client: "openai.AsyncOpenAI") -> str:
    try:
        return (await client.models.list()).data[0].id
    except (AttributeError, IndexError, TypeError, ValueError):
        raise UserError(f"{client.base_url}: lists no model; name one with --model") from None


async def render(client: "openai.AsyncOpenAI", model: str, messages: Messages) -> dict[str, Any]:
    """Return the prompt that the server makes of messages: {"tokens": ids, "count": their number, …}.

    Raises:
        NoResponse: the server's answer holds no tokens.
        openai.APIError: the server has no such interface, or does not answer.
    """
    root = str(client.base_url).rstrip("/").removesuffix("/v1")
    rendered = await _post(client, f"{root}/tokenize", {"model": model, "messages": messages})
    if not isinstance(rendered.get("tokens"), list) or not isinstance(rendered.get("count"), int):
        raise NoResponse("the server's /tokenize returns no tokens")
    return rendered


async def ask(client: "openai.AsyncOpenAI", endpoint: Endpoint, messages: Messages) -> Response:
    """Ask with one prompt.

    Raises:
        NoResponse: there is none, after the client's own repetitions.
        UserError: no request at all can succeed: the key, the right, the model or the address is wrong.
    """
    body = {"model": endpoint.model, "temperature": endpoint.temperature, **endpoint.extra}
    if endpoint.temperature > 0 and endpoint.seed is not None:
        body["seed"] = endpoint.seed
    try:
        if endpoint.interface == "completions":
            return await _ask_completions(client, endpoint, messages, body)
        body = {**body, "messages": messages, "max_tokens": endpoint.max_tokens}
        return _read(await _post(client, "/chat/completions", body))
    except openai.APIStatusError as error:
        if error.status_code in _HOPELESS:
            raise UserError(f"{endpoint.base_url}: {_describe(error)}; check address, model and key") from None
        raise NoResponse(_describe(error), refused=error.status_code in _REFUSED) from None
    except openai.APIError as error:
        raise NoResponse(_describe(error)) from None


async def _ask_completions(client: Any, endpoint: Endpoint, messages: Messages, body: dict[str, Any]) -> Response:
    rendered = await render(client, endpoint.model, messages)
    longest = rendered.get("max_model_len") or rendered["count"] + endpoint.max_tokens
    room = longest - rendered["count"]
    if room < 1:
        raise NoResponse(f"the prompt has {rendered['count']} tokens, the model takes {longest}", refused=True)
    body = {**body, "prompt": rendered["tokens"], "max_tokens": min(endpoint.max_tokens, room)}
    return _read(await _post(client, "/completions", body))


async def _post(client: Any, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found, _ = decode_json(await client.post(path, body=body, cast_to=bytes))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NoResponse("the server's answer is not a JSON object")
    return found


def _read(answer: Mapping[str, Any]) -> Response:
    try:
        choice = answer["choices"][0]
        message = choice.get("message") or {"content": choice.get("text")}
        usage = answer.get("usage") or {}
        return Response(
            content=_whole_characters(message.get("content")),
            reasoning=_whole_characters(message.get("reasoning") or message.get("reasoning_content")),
            finish_reason=choice.get("finish_reason"),
            input_tokens=usage.get("prompt_tokens") or 0,
            output_tokens=usage.get("completion_tokens") or 0,
        )
    except (KeyError, IndexError, TypeError, AttributeError):
        raise NoResponse("the server's answer holds no choice") from None


def _whole_characters(text: str | None) -> str:
    # JSON can hold half a character as an escape, a UTF-8 file cannot.
    return (text or "").encode("utf-8", "replace").decode()


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


@dataclass
class Failures:
    """The jobs without a response, each with the reason; ``stopped`` if the endpoint failed too often in a row."""

    reasons: list[tuple[Any, str]] = field(default_factory=list)
    stopped: bool = False


async def ask_all(
    endpoint: Endpoint,
    jobs: Collection[Any],
    ask_one: "Callable[[openai.AsyncOpenAI, Any], Awaitable[None]]",
    done: int = 0,
    progress: Callable[[float], str] = lambda seconds: "",
) -> Failures:
    """Await ``ask_one(client, job)`` for every job, ``endpoint.concurrency`` at a time, under a progress bar.

    Args:
        ask_one: asks and keeps the response; raises NoResponse if there is none.
        done: the number of jobs that an earlier run has done, for the bar.
        progress: the bar's text, from the seconds so far.

    Raises:
        UserError: no request at all can succeed. Requests under way are cancelled.
    """
    failures, in_a_row = Failures(), 0
    waiting = iter(jobs)

    async def work() -> None:
        nonlocal in_a_row
        for job in waiting:  # shared: each worker takes the next job when it has finished one
            try:
                await ask_one(client, job)
                in_a_row = 0
            except NoResponse as error:
                failures.reasons.append((job, str(error)))
                in_a_row += not error.refused
            bar.set_postfix_str(progress(bar.format_dict["elapsed"]))
            bar.update(1)
            if in_a_row >= MOST_FAILURES:
                failures.stopped = True
                return

    with tqdm(total=done + len(jobs), initial=done, desc=endpoint.model, disable=None) as bar:
        async with open_client(endpoint) as client:
            tasks = [asyncio.ensure_future(work()) for _ in range(endpoint.concurrency)]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    return failures
