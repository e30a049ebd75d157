"""`tooln1 upstream`."""

import argparse
from pathlib import Path


def add_commands(commands: argparse._SubParsersAction) -> None:
    upstream = commands.add_parser("upstream", help="write the reward as a patch for verl")
    upstream.add_argument("--verl", type=Path, required=True, metavar="DIR", help="a checkout, or site-packages")
    upstream.add_argument("--output", type=Path, default=Path("verl_toolcall.patch"), help="default: %(default)s")
    upstream.set_defaults(run=_upstream)


def _upstream(arguments: argparse.Namespace) -> None:
    from tooln1.upstream import write_patch

    print(write_patch(arguments.verl, arguments.output))
