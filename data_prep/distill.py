"""Collect responses with reasoning to prepared prompts from an OpenAI-compatible endpoint; keep those that earn 1.

    python data_prep/distill.py --input data/mix --base-url http://localhost:8000/v1 --model NAME --output data/r1
    OPENAI_API_KEY=... python data_prep/distill.py --input data/mix --base-url https://api.deepseek.com \
        --model deepseek-reasoner --input-price 0.55 --output-price 2.19 --output data/r1

Every response is written to responses.jsonl in the output folder as it arrives. A run that was stopped, even by
kill -9, resumes when the same command is given again. At the end, train.parquet and test.parquet hold the rewarded
responses as conversations for verl's SFT trainer.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tooln1.arguments import Parser, add_endpoint_arguments, endpoint_fields, positive
from tooln1.data.counts import Counts
from tooln1.data.distill import Teacher, TeacherLog, collect
from tooln1.data.prepared import read_prepared
from tooln1.data.script import add_prepared_arguments, claimed
from tooln1.data.sft import read_responses, write_sft_files
from tooln1.errors import EXIT_FAILURE, run_command
from tooln1.prompt import load_template


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, 1 if prompts got no response."""
    parser = Parser(description=__doc__)
    add_prepared_arguments(parser)
    parser.add_argument("--limit", type=positive, metavar="ROWS", help="use the first rows only")
    parser.add_argument("--base-url", required=True, metavar="URL", help="for instance http://localhost:8000/v1")
    parser.add_argument("--model", required=True, help="the model's name there")
    parser.add_argument("--samples", type=positive, default=1, help="responses to try for a prompt until one earns 1")
    parser.add_argument("--input-price", type=float, default=0.0, metavar="USD", help="for a million input tokens")
    parser.add_argument("--output-price", type=float, default=0.0, metavar="USD", help="for a million output tokens")
    add_endpoint_arguments(parser, temperature=0.6)
    arguments = parser.parse_args(argv)
    names = ("base_url", "model", "samples", "input_price", "output_price")
    teacher = Teacher(**{name: getattr(arguments, name) for name in names}, **endpoint_fields(arguments))
    template = load_template(arguments.template) if arguments.template else None
    counts = Counts()
    prepared = read_prepared(arguments.input, arguments.on_error == "skip", counts)
    folder = Path(arguments.output)
    with claimed(folder), TeacherLog(folder / "responses.jsonl", teacher.settings()) as log:
        failures = collect(prepared[: arguments.limit], teacher, log, template)
        spent = {"responses": log.asked.total(), **log.tokens, "dollars": teacher.cost(log.tokens)}
        settings = {"input": arguments.input, **teacher.settings(), "samples": teacher.samples, **spent}
        write_sft_files(arguments, prepared, counts, read_responses(log.path), {**settings, "failed": len(failures)})
    print(f"{spent['responses']:,} responses, {spent['output_tokens']:,} output tokens, ${spent['dollars']:,.2f}")
    if failures:
        print(
            f"{len(failures):,} prompts got no response ({failures[-1]}); the same command asks them again",
            file=sys.stderr,
        )
    return EXIT_FAILURE if failures else 0


if __name__ == "__main__":
    run_command(main)
