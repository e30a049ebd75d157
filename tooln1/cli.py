"""`tooln1 …`: one thin command over the package's parts."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from tooln1 import __version__
from tooln1.errors import UserError

# Each has a commands.py whose add_commands() names its commands; what a command needs is imported when it runs.
PARTS = ("tiny", "data", "reward_score", "eval", "doctor", "serve", "report", "train", "export", "upstream")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line. A mistake of the user's is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(prog="tooln1", description="Train tool-calling language models with verl")
    parser.add_argument("--version", action="version", version=f"tooln1 {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for part in PARTS:
        importlib.import_module(f"tooln1.{part}.commands").add_commands(commands)

    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        # Whoever read the output, such as head, has seen enough; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None


if __name__ == "__main__":
    main()
