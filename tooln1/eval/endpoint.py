"""Asking an OpenAI-compatible endpoint for the raw text of a reply.

Two interfaces, since a reply must be judged as the model wrote it:

- "completions": the prompt is rendered by the server's chat template through vLLM's /tokenize, and its tokens go to
  /v1/completions, which returns text that no reasoning or tool parser has taken apart. Used where the server has both.
- "chat": /v1/chat/completions. Where a server returns the reasoning apart, the reply is put together again, which
  cannot tell a reply that lacked the opening tag from one that had it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tooln1.endpoint import HOPELESS, REFUSED, Endpoint, short_error
from tooln1.errors import UserError

try:
    import openai
except ImportError:
    raise UserError('evaluation needs OpenAI\'s client; install it with: pip install -e ".[eval]"') from None

INTERFACES = ("auto", "completions", "chat")


@dataclass(frozen=True, kw_only=True)
class EvalEndpoint(Endpoint):
    """An endpoint and the interface by which it is asked.

    The seed is sent only where sampling needs one: vLLM 0.28 on a CPU fails at seeded requests.
    """

    interface: str = "auto"
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        """Return what decides the replies, interface and seed included."""
        return super().settings() | {"interface": self.interface, "seed": self.seed}


class Unanswered(Exception):
    """Raised when a case gets no reply; the message is the reason. `lasting` if asking again would not help."""

    def __init__(self, reason: str, lasting: bool = False):
        super().__init__(reason)
        self.lasting = lasting


@dataclass(frozen=True)
class Answer:
    """A reply as the model wrote it, why it ended, and its tokens."""

    reply: str
    finish_reason: str | None
    input_tokens: int
    output_tokens: int


async def find_model(client: openai.AsyncOpenAI) -> str:
    """Return the first model that the endpoint lists.

    Raises:
        UserError: it lists none, or cannot be asked.
    """
    try:
        listed = _decode(await client.get("/models", cast_to=bytes))
        return listed["data"][0]["id"]
    except openai.APIError as error:
        raise UserError(f"{client.base_url}: {short_error(error)}; check the address and the key") from None
    except (Unanswered, KeyError, IndexError, TypeError):
        raise UserError(f"{client.base_url}: lists no model; name one with --model") from None


async def find_interface(client: openai.AsyncOpenAI, model: str) -> str:
    """Return "completions" if the server can render a prompt itself, otherwise "chat".

    Raises:
        UserError: it cannot be asked at all.
    """
    try:
        await render(client, model, [{"role": "user", "content": "Hello"}])
        return "completions"
    except (openai.APIStatusError, Unanswered):
        return "chat"
    except openai.APIError as error:
        raise UserError(f"{client.base_url}: {short_error(error)}; check the address") from None


async def ask(client: openai.AsyncOpenAI, endpoint: EvalEndpoint, messages: list[dict[str, str]]) -> Answer:
    """Ask one prompt.

    Raises:
        Unanswered: there is no reply, the client's own repetitions included.
        UserError: the endpoint takes no request at all: the key, the right, the model or the address is wrong.
    """
    body = {"model": endpoint.model, "temperature": endpoint.temperature, **endpoint.extra}
    if endpoint.temperature > 0:
        body["seed"] = endpoint.seed
    try:
        if endpoint.interface == "completions":
            return await _complete(client, endpoint, messages, body)
        body = {**body, "messages": messages, "max_tokens": endpoint.max_tokens}
        return _chat_answer(await _post(client, "/chat/completions", body))
    except openai.APIStatusError as error:
        if error.status_code in HOPELESS:
            raise UserError(f"{endpoint.base_url}: {short_error(error)}; check address, model and key") from None
        raise Unanswered(short_error(error), lasting=error.status_code in REFUSED) from None
    except openai.APIError as error:
        raise Unanswered(short_error(error)) from None


async def _complete(client: Any, endpoint: EvalEndpoint, messages: list[dict[str, str]], body: dict) -> Answer:
    rendered = await render(client, endpoint.model, messages)
    longest = rendered.get("max_model_len") or rendered["count"] + endpoint.max_tokens
    room = longest - rendered["count"]
    if room < 1:
        raise Unanswered(f"the prompt has {rendered['count']} tokens, the model takes {longest}", lasting=True)
    body = {**body, "prompt": rendered["tokens"], "max_tokens": min(endpoint.max_tokens, room)}
    answer = await _post(client, "/completions", body)
    choice = _choice(answer)
    return _answer(choice.get("text") or "", choice, answer)


async def render(client: openai.AsyncOpenAI, model: str, messages: list[dict[str, str]]) -> dict[str, Any]:
    """Return the prompt that the server makes of messages: {"tokens": ids, "count": their number, …}.

    Raises:
        Unanswered: the server's answer holds no tokens.
        openai.APIError: it has no such interface, or cannot be asked.
    """
    root = str(client.base_url).rstrip("/").removesuffix("/v1")
    rendered = await _post(client, f"{root}/tokenize", {"model": model, "messages": messages})
    if not isinstance(rendered.get("tokens"), list) or not isinstance(rendered.get("count"), int):
        raise Unanswered("the server's /tokenize returns no tokens")
    return rendered


async def _post(client: Any, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return _decode(await client.post(path, body=body, cast_to=bytes))


def _decode(content: bytes) -> dict[str, Any]:
    """Decode a response's body; bytes that are not UTF-8 become U+FFFD, as in any text of the model's."""
    try:
        found = json.loads(content.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unanswered("the response is not a JSON object")
    return found


def _choice(answer: Mapping[str, Any]) -> dict[str, Any]:
    try:
        choice = answer["choices"][0]
    except (KeyError, IndexError, TypeError):
        choice = None
    if not isinstance(choice, dict):
        raise Unanswered("the response holds no choice")
    return choice


def _chat_answer(answer: Mapping[str, Any]) -> Answer:
    choice = _choice(answer)
    message = choice.get("message") or {}
    content = message.get("content") or ""
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    # Nothing is stripped or mended besides: it is the model's reply that is judged.
    return _answer(f"<think>{reasoning}</think>{content}" if reasoning else content, choice, answer)


def _answer(reply: str, choice: Mapping[str, Any], answer: Mapping[str, Any]) -> Answer:
    usage = answer.get("usage") or {}
    # Half characters can stand in JSON as escapes, but in no file that is UTF-8.
    reply = reply.encode("utf-8", "replace").decode()
    tokens = (usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
    return Answer(reply, choice.get("finish_reason"), *tokens)
