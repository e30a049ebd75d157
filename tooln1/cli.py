"""`tooln1 …`: one thin command over the package's parts."""

import argparse
import sys
from collections.abc import Sequence

from tooln1 import __version__
from tooln1.data.errors import DataError


def _quickstart(arguments: argparse.Namespace) -> None:
    from tooln1.tiny.run import main

    main(arguments.overrides)


def _validate(arguments: argparse.Namespace) -> None:
    from tooln1.data.validate import validate_parquet

    for path in arguments.files:
        print(f"{path}: {validate_parquet(path)} rows, all right")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line. A mistake of the user's is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(prog="tooln1", description="Train tool-calling language models with verl")
    parser.add_argument("--version", action="version", version=f"tooln1 {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    quickstart = commands.add_parser("quickstart", help="the CPU quickstart, in the environment that is active")
    quickstart.add_argument("overrides", nargs="*", help="settings for verl's GRPO")
    quickstart.set_defaults(run=_quickstart)

    validate = commands.add_parser("validate", help="check parquet files for training")
    validate.add_argument("files", nargs="+", metavar="PARQUET")
    validate.set_defaults(run=_validate)

    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except DataError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
