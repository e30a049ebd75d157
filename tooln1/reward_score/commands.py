"""`tooln1 score`."""

import argparse
import sys
from pathlib import Path


def add_commands(commands: argparse._SubParsersAction) -> None:
    score = commands.add_parser("score", help="score the replies of a rollout dump or another JSON Lines file")
    score.add_argument("path", type=Path, metavar="FILE", help="replies and references, or a folder of such files")
    score.add_argument("--profile", default="strict", help="strict or paper (default: %(default)s)")
    score.add_argument("--variant", default="binary", help="of the paper's reward ablation (default: %(default)s)")
    score.add_argument("--output", type=Path, help="where to write each reply's scores (default: beside FILE)")
    score.add_argument("--explain", type=int, metavar="N", help="only show reply N with its first fault marked")
    score.set_defaults(run=_score)


def _score(arguments: argparse.Namespace) -> None:
    from tooln1.reward_score.offline import explain_row, score_files

    if arguments.explain is None:
        text = score_files(arguments.path, arguments.output, arguments.profile, arguments.variant)
    else:
        text = explain_row(arguments.path, arguments.explain, arguments.profile, arguments.variant)
    # A reply may hold what the terminal's encoding cannot show, lone surrogates for instance.
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
