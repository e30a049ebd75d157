"""What every command line of the package shares: its parser and its types of arguments."""

import argparse
import os
from typing import Any, NoReturn

from tooln1.errors import EXIT_USER_ERROR
from tooln1.files import decode_json


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says a mistake on one line instead of repeating its whole usage."""

    def __init__(self, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Exit as for any mistake that the user can mend."""
        self.exit(EXIT_USER_ERROR, f"error: {message} ({self.prog} --help shows what it takes)\n")


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """Read a whole number from 0 on."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got {text}")
    return number


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        value, _ = decode_json(text.encode(errors="replace"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text}")
    return value


def add_endpoint_arguments(parser: argparse.ArgumentParser, temperature: float) -> None:
    """Add the fields of a `tooln1.endpoint.Endpoint` except address and model; ``temperature`` is the default."""
    parser.add_argument(
        "--api-key-env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable with the key, if the endpoint needs one (default: %(default)s)",
    )
    parser.add_argument("--temperature", type=float, default=temperature, help="(default: %(default)s)")
    parser.add_argument("--max-tokens", type=positive, default=8192, help="longest response (default: %(default)s)")
    parser.add_argument("--concurrency", type=positive, default=32, help="requests at a time (default: %(default)s)")
    parser.add_argument("--retries", type=not_negative, default=6, help="of a failed request (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="SECONDS", help="for one request (default: %(default)s)"
    )
    parser.add_argument(
        "--extra-body", type=json_object, default={}, metavar="JSON", help="further fields of every request"
    )


def endpoint_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of an `Endpoint` that `add_endpoint_arguments` added."""
    names = ("temperature", "max_tokens", "concurrency", "retries", "timeout")
    return {
        **{name: getattr(arguments, name) for name in names},
        "api_key": os.environ.get(arguments.api_key_env) or "none",  # a local server needs no key
        "extra": arguments.extra_body,
    }


def add_asking_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how `tooln1 eval` asks a case and reads its response."""
    parser.add_argument(
        "--interface",
        choices=("auto", "completions", "chat", "tools"),
        default="auto",
        help="how to get the raw response (default: completions if the server can render prompts, else chat); tools: "
        "send the request's tools, and let the server read the calls",
    )
    parser.add_argument(
        "--reader",
        choices=("strict", "paper"),
        default="strict",
        help="of the calls in a response: strict, as the reward; paper, the first block, reasoning or not (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--repeats",
        type=positive,
        default=1,
        metavar="N",
        help="ask each case N times, for intervals and pass^k; needs a temperature or --shuffle-tools",
    )
    parser.add_argument("--shuffle-tools", action="store_true", help="repeats have their tools in another order")
    parser.add_argument("--seed", type=int, default=0, help="of sampling, with a temperature (default: %(default)s)")
