"""Prepare xLAM (https://huggingface.co/datasets/Salesforce/xlam-function-calling-60k) for reinforcement learning.

    python data_prep/xlam.py --output data/xlam
    python data_prep/xlam.py --input xlam_function_calling_60k.json --output data/xlam

Each of the 60,000 queries becomes a row: the query is the prompt, its "answers" are the ground truth. The data set is
gated: without access, one line says what to accept and how to log in. All rows take a few seconds.
"""

from collections.abc import Sequence

from tooln1.arguments import Parser
from tooln1.data.prepare import prepare_files
from tooln1.data.script import add_source_arguments
from tooln1.errors import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    add_source_arguments(parser, "Salesforce/xlam-function-calling-60k")
    parser.set_defaults(name="xlam")
    prepare_files(parser.parse_args(argv), "xlam")


if __name__ == "__main__":
    run_command(main)
