"""What distillation and evaluation share about asking an OpenAI-compatible endpoint.

The client is OpenAI's own: it repeats what failed for a while (too many requests, server errors, lost connections,
timeouts), waiting longer each time, or as long as the server says.
"""

import argparse
import asyncio
import json
import os
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tooln1.arguments import not_negative, positive
from tooln1.errors import UserError

if TYPE_CHECKING:
    import openai

# Requests in a row that may fail for good before a run stops: by then the endpoint itself is the trouble.
MOST_FAILURES = 20
# What no repetition mends, and what is no fault of a single prompt: a wrong key, no right, an unknown model or address.
HOPELESS = (401, 403, 404)
# A prompt that is refused, for instance as too long: asking again does not help, other prompts may pass.
REFUSED = (400, 413, 422)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where and how to ask; ``extra`` is added to every request's body, ``timeout`` is in seconds."""

    base_url: str
    model: str
    api_key: str = "none"
    temperature: float = 0.0
    max_tokens: int = 8192
    concurrency: int = 32
    retries: int = 6
    timeout: float = 600.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Return what decides the replies: a run goes on only with the same."""
        return {name: getattr(self, name) for name in ("model", "temperature", "max_tokens", "extra")}


def add_endpoint_arguments(parser: argparse.ArgumentParser, temperature: float) -> None:
    """Add what an `Endpoint` is made of but its address and model; ``temperature`` is the default."""
    parser.add_argument(
        "--api-key-env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable with the key, if one is needed (default: %(default)s)",
    )
    parser.add_argument("--temperature", type=float, default=temperature, help="(default: %(default)s)")
    parser.add_argument("--max-tokens", type=positive, default=8192, help="longest reply (default: %(default)s)")
    parser.add_argument("--concurrency", type=positive, default=32, help="requests at a time (default: %(default)s)")
    parser.add_argument("--retries", type=not_negative, default=6, help="of a failed request (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="SECONDS", help="for one request (default: %(default)s)"
    )
    parser.add_argument("--extra-body", default="{}", metavar="JSON", help="further fields of every request")


def endpoint_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of an `Endpoint` that `add_endpoint_arguments` added, and ``model``.

    Raises:
        UserError: --extra-body is not a JSON object.
    """
    names = ("model", "temperature", "max_tokens", "concurrency", "retries", "timeout")
    return {
        **{name: getattr(arguments, name) for name in names},
        # A server of one's own asks for no key.
        "api_key": os.environ.get(arguments.api_key_env) or "none",
        "extra": _json_object(arguments.extra_body),
    }


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"--extra-body {text}: expected a JSON object")
    return value


@asynccontextmanager
async def open_client(endpoint: Endpoint, purpose: str) -> "AsyncIterator[openai.AsyncOpenAI]":
    """Open OpenAI's client for an endpoint.

    Args:
        purpose: the extra of this package that installs the client.

    Raises:
        UserError: the client is not installed.
    """
    try:
        import openai
    except ImportError:
        raise UserError(f'OpenAI\'s client is missing; install it with: pip install -e ".[{purpose}]"') from None
    client = openai.AsyncOpenAI(
        base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=endpoint.retries, timeout=endpoint.timeout
    )
    async with client:
        yield client


async def run_all(workers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run workers to their end; the first error stops the others and is raised by itself."""
    tasks = [asyncio.ensure_future(worker) for worker in workers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def short_error(error: Exception) -> str:
    """Return an error's kind and the beginning of its message, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
