"""Prepare xLAM (https://huggingface.co/datasets/Salesforce/xlam-function-calling-60k) for reinforcement learning.

    python data_prep/xlam.py --output data/xlam
    python data_prep/xlam.py --input xlam_function_calling_60k.json --output data/xlam

Each of the 60,000 queries gives one row: the query is the prompt, its "answers" are the reference. The data set is
gated: without access, one line says what to accept and how to log in. All rows take a few seconds.
"""

from collections.abc import Sequence
from functools import partial

from tooln1.arguments import Parser
from tooln1.calls import REASONS
from tooln1.data.cli import add_source_arguments
from tooln1.data.pipeline import prepare_files
from tooln1.data.sources import open_source
from tooln1.data.xlam import ROW_REASONS, prepare_query
from tooln1.errors import run_command
from tooln1.prompt import load_template

HUB_NAME = "Salesforce/xlam-function-calling-60k"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    add_source_arguments(parser, HUB_NAME)
    arguments = parser.parse_args(argv)
    template = load_template(arguments.template)
    prepare_files(
        open_source(arguments.input, HUB_NAME),
        partial(prepare_query, template=template, include_no_call=arguments.include_no_call),
        arguments,
        {**REASONS, **ROW_REASONS},
        template,
    )


if __name__ == "__main__":
    run_command(main)
