"""Write prepared rows as conversations for verl's SFT trainer, without reasoning or with it.

    python data_prep/sft.py --input data/mix --output data/sft
    python data_prep/sft.py --input data/mix --responses data/r1/responses.jsonl --output data/sft_reasoning

Without --responses, the model learns the ground truth calls alone. With it, the model learns the first response of that
file (written by data_prep/distill.py) that earns the reward, reasoning included. Prompts and split are the rows' own.
The prompts ask for reasoning; to train without any, replace their template: --template direct.
"""

from collections.abc import Sequence

from tooln1.arguments import Parser
from tooln1.data.cli import add_error_argument, add_output_arguments, add_split_arguments
from tooln1.data.prepared import open_prepared
from tooln1.data.sft import Options, Replies
from tooln1.data.sft_files import write_sft_files
from tooln1.errors import run_command
from tooln1.prompt import load_template


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="prepared folders or parquet files")
    parser.add_argument(
        "--responses", metavar="FILE", help="responses with reasoning, as data_prep/distill.py writes them"
    )
    add_split_arguments(parser, test_size=None)
    add_output_arguments(parser)
    add_error_argument(parser)
    arguments = parser.parse_args(argv)
    options = Options(
        template=load_template(arguments.template) if arguments.template else None,
        replies=Replies(arguments.responses) if arguments.responses else None,
        skip_broken=arguments.on_error == "skip",
    )
    settings = {name: getattr(arguments, name) for name in ("input", "responses", "template", "test_size", "seed")}
    write_sft_files(arguments, open_prepared(arguments.input), options, settings)


if __name__ == "__main__":
    run_command(main)
