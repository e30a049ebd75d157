"""`tooln1 export`."""

import argparse
import sys
from pathlib import Path


def add_commands(commands: argparse._SubParsersAction) -> None:
    export = commands.add_parser("export", help="a checkpoint of a run as a Hugging Face model with a model card")
    export.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the folder of a run")
    export.add_argument(
        "--step", default="best", help="a step, best (by validation accuracy; last if there is none), or last"
    )
    export.add_argument("--output", type=Path, required=True, help="the model's folder, which must not exist yet")
    export.add_argument("--push", metavar="NAME", help="upload it to the Hugging Face hub as NAME, privately")
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> None:
    from tooln1.export.export import export
    from tooln1.export.push import push
    from tooln1.train.process import StageError

    try:
        print(export(arguments.run_dir, arguments.step, arguments.output, arguments.push))
    except StageError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    if arguments.push:
        print(push(arguments.output, arguments.push))
