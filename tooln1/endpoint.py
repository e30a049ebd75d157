"""Asking an OpenAI-compatible endpoint for responses: what distillation and evaluation share.

The client is OpenAI's own: it repeats a failed request (too many requests, server errors, lost connections, timeouts),
waiting longer each time, or as long as the server says. This module repeats a request whose answer has status 200 but
no response: an error, a web page, a filtered message.

There are two interfaces, because a response must be judged as the model wrote it:

- "completions": the server's chat template renders the prompt through vLLM's /tokenize. The tokens go to
  /v1/completions, whose text no reasoning parser or tool parser has changed. It needs a server that has both.
- "chat": /v1/chat/completions. A server may return the reasoning apart from the content.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakSet

from tqdm import tqdm

from tooln1.errors import UserError
from tooln1.files import decode_json, one_line
from tooln1.prompt import opens_reasoning
from tooln1.reward_score.toolcall import THINK

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
# In the finish reason of a message that is not the model's own end: OpenAI, Gemini, DeepSeek, OpenRouter, vLLM, SGLang.
_BROKEN_OFF = re.compile("filter|safety|recitation|prohibited|block|error|abort|cancel|insufficient", re.I)
# Types of a message's parts that hold reasoning.
_THOUGHTS = ("thinking", "reasoning")
_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds, as in OpenAI's client

# Clients of servers that refuse max_tokens and take max_completion_tokens.
_takes_newer_name: "WeakSet[openai.AsyncOpenAI]" = WeakSet()


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where and how to ask; ``extra`` is added to every request's body, ``timeout`` is in seconds.

    ``opens_think``: the server's prompts end with an open <think>, so that responses begin inside the reasoning.

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
    opens_think: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Return the settings that decide the responses: a run resumes only with the same."""
        names = ("model", "interface", "temperature", "seed", "max_tokens", "extra")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Response:
    """What the model wrote, why it ended, and the number of tokens; ``reasoning`` is what the server returned apart.

    ``tool_calls``, {"name", "arguments"}, is what a server has read; only the interface "tools" takes them.
    """

    content: str
    reasoning: str
    finish_reason: str | None
    input_tokens: int
    output_tokens: int
    tool_calls: tuple[Mapping[str, Any], ...] = ()

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
    """Fill in the model, by default the endpoint's first, ``opens_think``, and "auto": completions where it works.

    Raises UserError if the endpoint does not answer, or lists no model.
    """
    async with open_client(endpoint) as client:
        try:
            model = endpoint.model or await _first_model(client)
            interface = endpoint.interface
            try:
                tokens = (await render(client, model, [{"role": "user", "content": "Hello"}]))["tokens"]
            except (openai.APIStatusError, NoResponse):
                return replace(endpoint, model=model, interface="chat" if interface == "auto" else interface)
            opens = opens_reasoning(await _detokenize(client, model, tokens))
            interface = "completions" if interface == "auto" else interface
            return replace(endpoint, model=model, interface=interface, opens_think=opens)
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
        raise NoResponse(f"the server's /tokenize returns no tokens: {_words(rendered)}")
    return rendered


async def _detokenize(client: "openai.AsyncOpenAI", model: str, tokens: list[int]) -> str:
    """Return the end of a rendered prompt as text, "" if the server has no such interface."""
    root = str(client.base_url).rstrip("/").removesuffix("/v1")
    try:
        return str((await _post(client, f"{root}/detokenize", {"model": model, "tokens": tokens[-16:]})).get("prompt"))
    except (openai.APIStatusError, NoResponse):
        return ""


async def ask(client: "openai.AsyncOpenAI", endpoint: Endpoint, messages: Messages) -> Response:
    """Ask with one prompt.

    Raises:
        NoResponse: there is none, after all repetitions.
        UserError: no request at all can succeed: the key, the right, the model or the address is wrong.
    """
    body = {"model": endpoint.model, "temperature": endpoint.temperature, **endpoint.extra}
    if endpoint.temperature > 0 and endpoint.seed is not None:
        body["seed"] = endpoint.seed
    try:
        if endpoint.interface == "completions":
            response = await _ask_completions(client, endpoint, messages, body)
        else:
            response = await _ask_chat(client, endpoint, {**body, "messages": messages})
        if endpoint.opens_think and not response.reasoning:
            return replace(response, content=THINK + response.content)
        return response
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
    return await _respond(client, endpoint, "/completions", body)


async def _ask_chat(client: Any, endpoint: Endpoint, body: dict[str, Any]) -> Response:
    newer = {"max_completion_tokens": endpoint.max_tokens, **body}
    if client in _takes_newer_name:
        return await _respond(client, endpoint, "/chat/completions", newer)
    try:
        return await _respond(client, endpoint, "/chat/completions", {"max_tokens": endpoint.max_tokens, **body})
    except openai.APIStatusError as error:
        if error.status_code not in _REFUSED or "max_tokens" not in str(error):
            raise
        try:
            response = await _respond(client, endpoint, "/chat/completions", newer)
        except openai.APIStatusError:
            raise error from None
        _takes_newer_name.add(client)
        return response


async def _respond(client: Any, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Response:
    """Post until the answer holds a response. Raises NoResponse after `endpoint.retries` repetitions."""
    for repetition in range(endpoint.retries):
        try:
            return _read(await _post(client, path, body), endpoint.interface == "tools")
        except NoResponse:
            await asyncio.sleep(min(_PAUSE * 2**repetition, _LONGEST_PAUSE))
    return _read(await _post(client, path, body), endpoint.interface == "tools")


async def _post(client: Any, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    data = await client.post(path, body=body, cast_to=bytes)
    try:
        found, _ = decode_json(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        text = data[:20_000].decode("utf-8", "replace")
        if text.lstrip().startswith("<"):  # a web page
            text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>", " ", text)
        raise NoResponse(f"the server's answer is not a JSON object: {one_line(text)}")
    return found


def _read(answer: Mapping[str, Any], native: bool) -> Response:
    cause = answer.get("error")
    try:
        choice = answer["choices"][0]
        message = choice.get("message") or {"content": choice.get("text")}
        content, reason = message.get("content"), choice.get("finish_reason")
        text = _text(content)
        reasoning = _text(message.get("reasoning") or message.get("reasoning_content")) or _text(content, thoughts=True)
        functions = [one["function"] for one in (native and message.get("tool_calls")) or ()]
        calls = tuple({"name": one["name"], "arguments": one.get("arguments")} for one in functions)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise NoResponse(f"the server's answer holds no choice: {_words(cause or answer)}") from None
    is_empty = text is None and not reasoning and not calls
    if cause or choice.get("error") or _BROKEN_OFF.search(str(reason)) or is_empty:
        raise NoResponse(f"the server's answer holds no response: {_words(cause or choice)}")
    usage = answer.get("usage") if isinstance(answer.get("usage"), dict) else {}
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    tokens = [count if isinstance(count, int) else 0 for count in counts]
    return Response(_whole_characters(text), _whole_characters(reasoning), reason, *tokens, tool_calls=calls)


def _words(answer: Any) -> str:
    try:
        return _whole_characters(one_line(json.dumps(answer, ensure_ascii=False), 300))
    except RecursionError:
        return "nested too deeply"


def _text(field: Any, thoughts: bool = False) -> str | None:
    """Return a message's field as one text, the parts of a list joined; None if there is no text.

    Args:
        thoughts: of a list, take the parts that hold reasoning, and otherwise the others.
    """
    if not isinstance(field, list):
        return field if isinstance(field, str) and not thoughts else None
    parts = [part if isinstance(part, dict) else {"text": part} for part in field]
    wanted = [part for part in parts if (part.get("type") in _THOUGHTS) == thoughts]
    texts = [_text(part.get("thinking") if "thinking" in part else part.get("text")) for part in wanted]
    found = [text for text in texts if text is not None]
    return "".join(found) if found else None


def _whole_characters(text: str | None) -> str:
    # JSON can hold half a character as an escape, a UTF-8 file cannot.
    return (text or "").encode("utf-8", "replace").decode()


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


async def ask_all(
    endpoint: Endpoint,
    jobs: Collection[Any],
    ask_one: "Callable[[openai.AsyncOpenAI, Any], Awaitable[None]]",
    done: int = 0,
    progress: Callable[[float], str] = lambda seconds: "",
) -> list[tuple[Any, str]]:
    """Await ``ask_one(client, job)`` for every job, ``endpoint.concurrency`` at a time, under a progress bar.

    Return the jobs without a response, each with the reason.

    Args:
        ask_one: asks and keeps the response; raises NoResponse if there is none.
        done: the number of jobs that an earlier run has done.
        progress: the bar's text, from the seconds so far.

    Raises:
        UserError: no request at all can succeed, none has, or too many failed in a row. What is under way is cancelled.
    """
    failures: list[tuple[Any, str]] = []
    answered, in_a_row = done, 0
    waiting = iter(jobs)

    async def work() -> None:
        nonlocal answered, in_a_row
        for job in waiting:  # shared: each worker takes the next job when it has finished one
            try:
                await ask_one(client, job)
                answered, in_a_row = answered + 1, 0
            except NoResponse as error:
                failures.append((job, str(error)))
                # An endpoint that has answered may refuse single prompts; one that refuses all has a wrong setting.
                in_a_row += not (error.refused and answered)
                if in_a_row >= MOST_FAILURES:
                    raise UserError(
                        f"{endpoint.base_url}: {in_a_row} requests in a row failed ({error}); what it has answered is "
                        "kept, and the same command asks for the rest"
                    ) from None
            bar.set_postfix_str(progress(bar.format_dict["elapsed"]))
            bar.update(1)

    with tqdm(total=done + len(jobs), initial=done, desc=endpoint.model, disable=None) as bar:
        async with open_client(endpoint) as client:
            tasks = [asyncio.ensure_future(work()) for _ in range(endpoint.concurrency)]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    if failures and not answered:
        raise UserError(f"{endpoint.base_url}: not one request succeeded ({failures[-1][1]}); check the address")
    return failures
