"""Collect replies with reasoning to prepared prompts from any OpenAI-compatible endpoint, and keep those that earn 1.

    python data_prep/distill.py --input data/mix --base-url http://localhost:8000/v1 --model NAME --output data/r1
    OPENAI_API_KEY=... python data_prep/distill.py --input data/mix --base-url https://api.deepseek.com \
        --model deepseek-reasoner --input-price 0.55 --output-price 2.19 --output data/r1

Every reply is written to replies.jsonl in the output folder as it comes. A run that was stopped, even by kill -9, goes
on from there when the same command is given again. At the end, train.parquet and test.parquet hold the rewarded replies
as conversations for verl's SFT trainer.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tooln1.data.cli import add_error_argument, add_output_arguments, add_split_arguments, make_parser, positive, run
from tooln1.data.distill import Endpoint, api_key, collect, parse_extra
from tooln1.data.journal import Journal
from tooln1.data.prepared import open_prepared
from tooln1.data.sft import Options, Replies
from tooln1.data.sft_files import write_sft_files
from tooln1.prompt import load_template


def add_endpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what an `Endpoint` is made of."""
    parser.add_argument("--base-url", required=True, metavar="URL", help="for instance http://localhost:8000/v1")
    parser.add_argument("--model", required=True, help="the model's name there")
    parser.add_argument(
        "--api-key-variable",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable with the key, if one is needed (default: %(default)s)",
    )
    parser.add_argument("--temperature", type=float, default=0.6, help="(default: %(default)s)")
    parser.add_argument("--max-tokens", type=positive, default=8192, help="longest reply (default: %(default)s)")
    parser.add_argument("--samples", type=positive, default=1, help="replies to try for a prompt until one earns 1")
    parser.add_argument("--concurrency", type=positive, default=32, help="requests at a time (default: %(default)s)")
    parser.add_argument("--retries", type=positive, default=6, help="for one request (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one request (default: %(default)s)")
    parser.add_argument("--input-price", type=float, default=0.0, metavar="USD", help="for a million input tokens")
    parser.add_argument("--output-price", type=float, default=0.0, metavar="USD", help="for a million output tokens")
    parser.add_argument("--extra-body", default="{}", metavar="JSON", help="further fields of every request")


def read_endpoint(arguments: argparse.Namespace) -> Endpoint:
    """Return the endpoint that the command line describes."""
    names = ("base_url", "model", "temperature", "max_tokens", "samples", "concurrency", "retries", "timeout")
    return Endpoint(
        **{name: getattr(arguments, name) for name in (*names, "input_price", "output_price")},
        api_key=api_key(arguments.api_key_variable),
        extra=parse_extra(arguments.extra_body),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="prepared folders or parquet files")
    parser.add_argument("--limit", type=positive, metavar="ROWS", help="ask for the first rows only")
    add_endpoint_arguments(parser)
    add_split_arguments(parser, test_size=None)
    add_output_arguments(parser)
    add_error_argument(parser)
    arguments = parser.parse_args(argv)
    endpoint = read_endpoint(arguments)
    template = load_template(arguments.template) if arguments.template else None
    units = open_prepared(arguments.input)
    with Journal(Path(arguments.output) / "replies.jsonl", endpoint.settings()) as journal:
        skip_broken = arguments.on_error == "skip"
        asked = collect(units, endpoint, journal, template, arguments.limit, skip_broken)
        options = Options(template, Replies(journal.path), skip_broken)
        spent = {"replies": sum(journal.asked.values()), **journal.tokens, "dollars": endpoint.cost(journal.tokens)}
        settings = {"input": arguments.input, **endpoint.settings(), "samples": endpoint.samples, **spent}
        write_sft_files(arguments, units, options, {**settings, "failed": asked.failed})
    print(f"{spent['replies']:,} replies, {spent['output_tokens']:,} output tokens, ${spent['dollars']:,.2f}")
    if asked.failed:
        print(f"{asked.failed:,} prompts got no reply ({asked.failure}); the same command asks them again")


if __name__ == "__main__":
    run(main)
