"""Prepare ToolACE (https://huggingface.co/datasets/Team-ACE/ToolACE) for reinforcement learning.

    python data_prep/toolace.py --output data/toolace
    python data_prep/toolace.py --input data.json --output data/toolace

The same as data_prep/messages.py with --dialect toolace: ToolACE's text, or ShareGPT files of the same shape (roles
human, gpt, function_call and observation). The 11,300 conversations take a few seconds.
"""

from collections.abc import Sequence

from tooln1.arguments import Parser
from tooln1.data.conversation import Conversation
from tooln1.data.prepare import prepare_files
from tooln1.data.script import add_source_arguments
from tooln1.errors import run_command


def data_source(conversation: Conversation) -> str:
    """A conversation is single turn if the user speaks once and at most one step calls tools."""
    requests = sum(turn.role == "user" for turn in conversation.turns)
    calling = sum(bool(turn.calls) or turn.rejected is not None for turn in conversation.turns)
    return f"toolcall/toolace_{'single' if requests <= 1 and calling <= 1 else 'multi'}_turn"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    add_source_arguments(parser, "Team-ACE/ToolACE")
    prepare_files(parser.parse_args(argv), "toolace", data_source)


if __name__ == "__main__":
    run_command(main)
