"""Prepare conversations with tools, in any of the common dialects, for reinforcement learning.

    python data_prep/messages.py --input chats.jsonl --output data/mine --name mine
    python data_prep/messages.py --input nvidia/Nemotron-RL-Agentic-Function-Calling-Pivot-v1 --output data/pivot
    python data_prep/messages.py --input Salesforce/APIGen-MT-5k --output data/apigen_mt

Each assistant turn that calls tools becomes a row: the turns before it are the prompt, its calls the ground truth. What
cannot be read exactly is dropped and counted by reason. The dialect is recognised row by row: {dialects}.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from tooln1.arguments import Parser
from tooln1.data.dialects import DIALECTS
from tooln1.data.prepare import prepare_files
from tooln1.data.script import add_source_arguments
from tooln1.errors import run_command
from tooln1.tools import load_tools


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    known = ", ".join(f"{name} ({dialect.what})" for name, dialect in DIALECTS.items())
    parser = Parser(description=__doc__.replace("{dialects}", known))
    add_source_arguments(parser)
    parser.add_argument("--dialect", choices=DIALECTS, help="read every row in this dialect (default: recognise it)")
    parser.add_argument(
        "--tools",
        metavar="FILE",
        help="the tools of conversations that list none: a tool list in JSON or YAML, an OpenAPI 3 document, or "
        "FILE.py:NAME, Python functions, which are read and not run",
    )
    parser.add_argument(
        "--schema-mismatch",
        choices=("keep", "drop"),
        default="keep",
        help="turns with a call that breaks its tool's schema, which are counted (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    # Without --name, the rows are called like the first input.
    arguments.name = arguments.name or re.sub(r"[^\w-]+", "_", Path(arguments.input[0]).name.split(".")[0])
    tools = load_tools(arguments.tools) if arguments.tools else ()
    prepare_files(arguments, arguments.dialect, schema_mismatch=arguments.schema_mismatch, tools=tools)


if __name__ == "__main__":
    run_command(main)
