"""What the data_prep scripts have in common on the command line."""

import argparse
import os
from pathlib import Path

from tooln1.arguments import positive
from tooln1.data.lengths import PromptLengths


def add_source_arguments(parser: argparse.ArgumentParser, hub_name: str) -> None:
    """Add what a script that reads a published data set takes: its input, the split and how rows are made."""
    parser.add_argument("--input", metavar="FILE", help=f"json, jsonl or parquet file (default: {hub_name} on the hub)")
    add_split_arguments(parser)
    add_output_arguments(parser)
    parser.add_argument(
        "--include-no-call", action="store_true", help="keep turns answered without a call, as rows with an empty list"
    )
    add_error_argument(parser)


def add_error_argument(parser: argparse.ArgumentParser) -> None:
    """Add --on-error."""
    parser.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="what to do with a row that is not what the source promises (default: %(default)s)",
    )


def add_split_arguments(parser: argparse.ArgumentParser, test_size: str | None = "0.05") -> None:
    """Add --test-size and --seed; a default of None means that the rows keep the split they have."""
    parser.add_argument(
        "--test-size",
        metavar="SIZE",
        default=test_size,
        help="share of the rows held out for testing, or their number; conversations stay whole "
        f"(default: {test_size or 'the split that the input has'})",
    )
    parser.add_argument("--seed", type=int, default=0, help="decides everything random (default: %(default)s)")


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every script takes about its output and the way to it."""
    parser.add_argument("--output", metavar="DIR", required=True, help="folder for train, test and stats files")
    parser.add_argument(
        "--template", help="another prompt template: a file with {tools} at the tools' place, compact, or direct"
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=_processors(),
        metavar="N",
        help="processes to work with; the files are the same with any number (default: %(default)s here)",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        nargs="?",
        const="",
        help="write examples of each reason, as Markdown (without FILE: report.md in the output folder)",
    )
    parser.add_argument("--tokenizer", metavar="PATH", help="measure the prompts with this tokenizer")
    parser.add_argument(
        "--max-prompt-length",
        type=positive,
        default=4096,
        metavar="TOKENS",
        help="with --tokenizer, count the prompts over this limit (default: %(default)s)",
    )


def report_path(arguments: argparse.Namespace) -> Path | None:
    """Return where --report wants its page, None without it."""
    if arguments.report is None:
        return None
    return Path(arguments.report or Path(arguments.output) / "report.md")


def prompt_lengths(arguments: argparse.Namespace) -> PromptLengths | None:
    """Return what measures the prompts, None without --tokenizer.

    Raises:
        tooln1.errors.UserError: the tokenizer does not load.
    """
    return PromptLengths(arguments.tokenizer, arguments.max_prompt_length) if arguments.tokenizer else None


def rate(text: str) -> float:
    """Read a share from 0 to 1; for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, got {text}")
    return number


def _processors() -> int:
    """The processors this process may use, at most four: the parent, which reads and writes, cannot keep more busy."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, allowed)
