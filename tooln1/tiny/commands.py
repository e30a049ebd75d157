"""`tooln1 quickstart`."""

import argparse


def add_commands(commands: argparse._SubParsersAction) -> None:
    quickstart = commands.add_parser("quickstart", help="the CPU quickstart, in the environment that is active")
    quickstart.add_argument("overrides", nargs="*", help="settings for verl's GRPO")
    quickstart.set_defaults(run=_quickstart)


def _quickstart(arguments: argparse.Namespace) -> None:
    from tooln1.tiny.run import main

    main(arguments.overrides)
