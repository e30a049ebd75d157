"""Mix prepared files into one training set: choose, split, shuffle, and make some of the rows harder.

    python data_prep/mix.py --input data/toolace data/xlam --preset full --output data/full
    python data_prep/mix.py --input data/toolace data/xlam --preset about-21k --output data/mix --mask 0.3
    python data_prep/mix.py --input data/toolace data/xlam --counts toolace=all xlam=5000 --output data/mix
    python data_prep/mix.py --input data/toolace data/xlam --weights toolace=2 xlam=1 --rows 9000 --output data/mix

The parts of a mixture are named by data source: xlam, toolace_single_turn, toolace_multi_turn, toolace (both), or the
--name of your own. Without a mixture, every row is taken.

Of rows with the same prompt the first one stays. Rows that share their opening (system and first request) are one
conversation, which is on one side of the split only. Presets (docs/data.md has the rule behind each number):

    full               every row of ToolACE and xLAM
    about-21k          every row of ToolACE, and xLAM rows up to 21,211 together
    xlam-only          every row of xLAM
    toolace-only       every row of ToolACE
    single-turn-5518   5,518 rows whose prompt is one request, of ToolACE first
"""

import argparse
from collections.abc import Sequence

from tooln1.arguments import Parser
from tooln1.data.mix import PRESETS, Mixture, mix_files
from tooln1.data.script import add_prepared_arguments, claimed
from tooln1.errors import UserError, run_command


def part_rows(text: str) -> tuple[str, int | None]:
    """Read PART=ROWS or PART=all."""
    name, _, rows = text.partition("=")
    if not name or (rows != "all" and not rows.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected PART=ROWS, a whole number or all, got {text}")
    return name, None if rows == "all" else int(rows)


def part_weight(text: str) -> tuple[str, float]:
    """Read PART=WEIGHT; weights are positive numbers in any proportion."""
    name, _, weight = text.partition("=")
    number = _number(weight)
    if not name or not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected PART=WEIGHT, a positive number, got {text}")
    return name, number


def rate(text: str) -> float:
    """Read a fraction from 0 to 1."""
    number = _number(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def read_mixture(arguments: argparse.Namespace) -> Mixture:
    """Return the mixture of --preset, or --counts, or --weights with --rows; all rows without any. Raises UserError."""
    if sum(option is not None for option in (arguments.preset, arguments.counts, arguments.weights)) > 1:
        raise UserError("give one of --preset, --counts and --weights, or none for all rows")
    if arguments.rows is not None and arguments.weights is None:
        raise UserError("--rows goes with --weights only")
    pairs = arguments.counts or arguments.weights or []
    if len(dict(pairs)) < len(pairs):
        raise UserError("--counts and --weights take each part once")
    if arguments.counts:
        return Mixture(counts=dict(pairs))
    if arguments.weights:
        return Mixture(weights=dict(pairs), total=arguments.rows)
    return PRESETS[arguments.preset] if arguments.preset else Mixture()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    add_prepared_arguments(parser, test_size=0.05)
    parser.add_argument("--preset", choices=PRESETS, help="a mixture by name (default: every row of the input)")
    parser.add_argument("--counts", nargs="+", type=part_rows, metavar="PART=ROWS", help="rows of each part, or all")
    parser.add_argument(
        "--weights", nargs="+", type=part_weight, metavar="PART=WEIGHT", help="proportions of the parts"
    )
    parser.add_argument("--rows", type=int, help="with --weights: rows together (default: as many as there can be)")
    parser.add_argument(
        "--irrelevance", type=rate, default=0.0, metavar="RATE", help="fraction of rows whose needed tools are removed"
    )
    parser.add_argument(
        "--mask", type=rate, default=0.0, metavar="RATE", help="fraction of rows with random tool names"
    )
    parser.add_argument(
        "--decontaminate", nargs="+", default=[], metavar="FILE", help="drop rows that occur in these evaluation files"
    )
    arguments = parser.parse_args(argv)
    mixture = read_mixture(arguments)
    with claimed(arguments.output):
        mix_files(arguments, mixture)


if __name__ == "__main__":
    run_command(main)
