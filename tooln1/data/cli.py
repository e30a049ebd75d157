"""What the data_prep scripts have in common on the command line."""

import argparse
import sys
from collections.abc import Callable

from tooln1.data.errors import DataError
from tooln1.prompt import TemplateError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def add_common_arguments(parser: argparse.ArgumentParser, hub_name: str) -> None:
    """Add --input, --output, --test-size, --seed, --template and --on-error."""
    parser.add_argument("--input", metavar="FILE", help=f"json, jsonl or parquet file (default: {hub_name} on the hub)")
    parser.add_argument("--output", metavar="DIR", required=True, help="folder for train, test and stats files")
    parser.add_argument(
        "--test-size",
        metavar="SIZE",
        default="0.05",
        help="share of the conversations held out for testing, or their number (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default: %(default)s)")
    parser.add_argument("--template", metavar="FILE", help="another prompt template; {tools} marks the tools' place")
    parser.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="what to do with a row that is not what the source promises (default: %(default)s)",
    )


def run(main: Callable[[], None]) -> None:
    """Run a script's main; what the user can mend becomes one line on stderr and exit code 2."""
    try:
        main()
    except (DataError, TemplateError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
