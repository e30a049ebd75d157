"""Prepare ToolACE (https://huggingface.co/datasets/Team-ACE/ToolACE) for reinforcement learning.

    python data_prep/toolace.py --output data/toolace
    python data_prep/toolace.py --input data.json --output data/toolace

A conversation gives one row for each assistant turn that calls tools: the turns before it are the prompt, its calls the
reference. What cannot be read exactly is dropped and counted by reason; each row's reference is scored before it is
written. The 11,300 conversations take a few seconds.

Also taken: ShareGPT files with the roles human, gpt, function_call and observation, their tools in the system text or
in a "tools" field.
"""

from collections.abc import Sequence
from functools import partial

from tooln1.arguments import Parser
from tooln1.calls import REASONS
from tooln1.data.cli import add_source_arguments
from tooln1.data.pipeline import prepare_files
from tooln1.data.sources import open_source
from tooln1.data.toolace import TURN_REASONS, Options, prepare_conversation
from tooln1.errors import run_command
from tooln1.prompt import load_template

HUB_NAME = "Team-ACE/ToolACE"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    add_source_arguments(parser, HUB_NAME)
    arguments = parser.parse_args(argv)
    template = load_template(arguments.template)
    prepare_files(
        open_source(arguments.input, HUB_NAME),
        partial(prepare_conversation, options=Options(template, arguments.include_no_call)),
        arguments,
        {**REASONS, **TURN_REASONS},
        template,
    )


if __name__ == "__main__":
    run_command(main)
