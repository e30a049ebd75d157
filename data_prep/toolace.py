"""Prepare ToolACE (https://huggingface.co/datasets/Team-ACE/ToolACE) for reinforcement learning.

    python data_prep/toolace.py --output data/toolace
    python data_prep/toolace.py --input data.json --output data/toolace

Each assistant turn that calls tools becomes a row: the turns before it are the prompt, its calls the ground truth. What
cannot be read exactly is dropped and counted by reason; each row's ground truth is scored before it is written. The
11,300 conversations take a few seconds.

ShareGPT files work too: roles human, gpt, function_call and observation; tools in the system text or a "tools" field.
"""

from collections.abc import Sequence

from tooln1.arguments import Parser
from tooln1.data.prepare import prepare_files
from tooln1.data.script import add_source_arguments
from tooln1.data.toolace import read_conversation
from tooln1.errors import run_command

HUB_NAME = "Team-ACE/ToolACE"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    add_source_arguments(parser, HUB_NAME)
    prepare_files(parser.parse_args(argv), HUB_NAME, read_conversation)


if __name__ == "__main__":
    run_command(main)
