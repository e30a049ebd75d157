"""`tooln1 validate`."""

import argparse


def add_commands(commands: argparse._SubParsersAction) -> None:
    validate = commands.add_parser("validate", help="check parquet files for training")
    validate.add_argument("files", nargs="+", metavar="PARQUET")
    validate.set_defaults(run=_validate)


def _validate(arguments: argparse.Namespace) -> None:
    from tooln1.data.validate import validate_parquet

    for path in arguments.files:
        print(f"{path}: {validate_parquet(path)} rows, all right")
