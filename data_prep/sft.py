"""Write prepared rows as conversations for verl's SFT trainer, without reasoning or with it.

    python data_prep/sft.py --input data/mix --output data/sft
    python data_prep/sft.py --input data/mix --responses data/r1/responses.jsonl --output data/sft_reasoning

Without --responses, the model learns the ground truth calls alone. With it, the model learns the first response of that
file (written by data_prep/distill.py) that earns the reward, reasoning included. Prompts and split are the rows' own.
The prompts ask for reasoning; to train without any, replace their template: --template direct.
"""

from collections.abc import Sequence

from tooln1.arguments import Parser
from tooln1.data.counts import Counts
from tooln1.data.prepared import read_prepared
from tooln1.data.script import add_prepared_arguments, claimed
from tooln1.data.sft import read_responses, write_sft_files
from tooln1.errors import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    add_prepared_arguments(parser)
    parser.add_argument("--responses", metavar="FILE", help="responses, as data_prep/distill.py writes them")
    arguments = parser.parse_args(argv)
    responses = read_responses(arguments.responses) if arguments.responses else None
    counts = Counts()
    prepared = read_prepared(arguments.input, arguments.on_error == "skip", counts)
    settings = {name: getattr(arguments, name) for name in ("input", "responses", "template", "test_size", "seed")}
    with claimed(arguments.output):
        write_sft_files(arguments, prepared, counts, responses, settings)


if __name__ == "__main__":
    run_command(main)
