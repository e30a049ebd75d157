"""Mix prepared files into one training set: choose, shuffle, split, and make some of the rows harder.

    python data_prep/mix.py --input data/toolace data/xlam --preset full --output data/full
    python data_prep/mix.py --input data/toolace data/xlam --preset about-21k --output data/mix --mask 0.3
    python data_prep/mix.py --input data/toolace data/xlam --counts toolace=all xlam=5000 --output data/mix
    python data_prep/mix.py --input data/toolace data/xlam --weights toolace=2 xlam=1 --rows 9000 --output data/mix

The parts of a mixture are named by data source: xlam, toolace_single_turn, toolace_multi_turn, toolace (both), or
synthetic. Of rows with the same prompt the first one stays. Rows that share their opening (system and first request)
are one conversation, which is on one side of the split only. Presets (docs/data.md has the rule behind each number):

    full               every row of ToolACE and xLAM
    about-21k          every row of ToolACE, and xLAM rows up to 21,211 together
    xlam-only          every row of xLAM
    toolace-only       every row of ToolACE
    single-turn-5518   5,518 rows whose prompt is one request, of ToolACE first
"""

import argparse
from collections.abc import Sequence

from tooln1.arguments import Parser
from tooln1.data.cli import add_error_argument, add_output_arguments, add_split_arguments, rate
from tooln1.data.mix_files import mix_files
from tooln1.data.mixture import PRESETS, Mixture, parse_counts, parse_weights
from tooln1.errors import UserError, run_command


def read_mixture(arguments: argparse.Namespace) -> Mixture:
    """Return what --preset, or --counts, or --weights with --rows describe; without any, all rows.

    Raises:
        UserError: two of them are given, or they cannot be read.
    """
    if sum(option is not None for option in (arguments.preset, arguments.counts, arguments.weights)) > 1:
        raise UserError("give one of --preset, --counts and --weights, or none for all rows")
    if arguments.rows is not None and arguments.weights is None:
        raise UserError("--rows goes with --weights only")
    if arguments.counts:
        return Mixture(counts=parse_counts(arguments.counts))
    if arguments.weights is None:
        return PRESETS[arguments.preset or "full"]
    return Mixture(weights=parse_weights(arguments.weights), total=arguments.rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="prepared folders or parquet files")
    parser.add_argument("--preset", choices=PRESETS, help="a mixture by name (default: full)")
    parser.add_argument("--counts", nargs="+", metavar="PART=ROWS", help="rows to take of each part, or all")
    parser.add_argument("--weights", nargs="+", metavar="PART=WEIGHT", help="proportions of the parts")
    parser.add_argument("--rows", type=int, help="with --weights: rows together (default: as many as there can be)")
    parser.add_argument(
        "--irrelevance", type=rate, default=0.0, metavar="RATE", help="share of rows to rob of the answer's tools"
    )
    parser.add_argument(
        "--mask", type=rate, default=0.0, metavar="RATE", help="share of rows to give random function names"
    )
    parser.add_argument(
        "--decontaminate", nargs="+", default=[], metavar="FILE", help="drop rows that occur in these evaluation files"
    )
    add_split_arguments(parser)
    add_output_arguments(parser)
    add_error_argument(parser)
    arguments = parser.parse_args(argv)
    mix_files(arguments, read_mixture(arguments))


if __name__ == "__main__":
    run_command(main)
