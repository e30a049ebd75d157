"""`tooln1 …`: one thin command over the package's parts."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tooln1 import __version__
from tooln1.data.errors import DataError


def _quickstart(arguments: argparse.Namespace) -> None:
    from tooln1.tiny.run import main

    main(arguments.overrides)


def _validate(arguments: argparse.Namespace) -> None:
    from tooln1.data.validate import validate_parquet

    for path in arguments.files:
        print(f"{path}: {validate_parquet(path)} rows, all right")


def _score(arguments: argparse.Namespace) -> None:
    from tooln1.reward_score.offline import explain_row, score_files

    if arguments.explain is None:
        text = score_files(arguments.path, arguments.output, arguments.profile, arguments.variant)
    else:
        text = explain_row(arguments.path, arguments.explain, arguments.profile, arguments.variant)
    # A reply may hold what the terminal's encoding cannot show, lone surrogates for instance.
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def _upstream(arguments: argparse.Namespace) -> None:
    from tooln1.upstream import write_patch

    print(write_patch(arguments.verl, arguments.output))


def _add_reward_commands(commands: argparse._SubParsersAction) -> None:
    score = commands.add_parser("score", help="score the replies of a rollout dump or another JSON Lines file")
    score.add_argument("path", type=Path, metavar="FILE", help="replies and references, or a folder of such files")
    score.add_argument("--profile", default="strict", help="strict or paper (default: %(default)s)")
    score.add_argument("--variant", default="binary", help="of the paper's reward ablation (default: %(default)s)")
    score.add_argument("--output", type=Path, help="where to write each reply's scores (default: beside FILE)")
    score.add_argument("--explain", type=int, metavar="N", help="only show reply N with its first fault marked")
    score.set_defaults(run=_score)

    upstream = commands.add_parser("upstream", help="write the reward as a patch for verl")
    upstream.add_argument("--verl", type=Path, required=True, metavar="DIR", help="a checkout, or site-packages")
    upstream.add_argument("--output", type=Path, default=Path("verl_toolcall.patch"), help="default: %(default)s")
    upstream.set_defaults(run=_upstream)


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

    _add_reward_commands(commands)

    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except DataError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
