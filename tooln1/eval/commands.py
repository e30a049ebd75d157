"""`tooln1 eval` and `tooln1 compare`."""

import argparse
import os
import sys
from pathlib import Path

from tooln1.arguments import positive
from tooln1.endpoint import add_endpoint_arguments, endpoint_fields


def add_commands(commands: argparse._SubParsersAction) -> None:
    _add_eval(commands)
    compare = commands.add_parser("compare", help="put evaluations side by side, with a paired test")
    compare.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output folders of tooln1 eval, two or more")
    compare.set_defaults(run=_compare)


def _add_eval(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("eval", help="evaluate a model on BFCL, API-Bank and ACEBench")
    parser.add_argument("target", metavar="CHECKPOINT_OR_URL", help="a model's folder, or http://host:port/v1")
    parser.add_argument("--bench", default="bfcl,api_bank,acebench", help="which, by commas (default: %(default)s)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the data of API-Bank and ACEBench")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go (default: runs/eval/MODEL)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N cases of each category")
    parser.add_argument("--template", help="the training's prompt template: a file, compact, or direct (thinking)")
    parser.add_argument("--form", choices=("function_calling", "dialogues"), help="which form of API-Bank's data")
    parser.add_argument("--bfcl-python", metavar="FILE", help="Python of BFCL's environment (default: .venv-bfcl's)")
    _add_endpoint(parser)
    parser.add_argument("--serve", default="", metavar="ARGUMENTS", help="for a checkpoint: options of tooln1 serve")
    parser.set_defaults(run=_eval)


def _add_endpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="", metavar="NAME", help="as the endpoint calls it (default: its first)")
    parser.add_argument(
        "--interface",
        choices=("auto", "completions", "chat"),
        default="auto",
        help="how the raw reply is got (default: completions where the server can render prompts, else chat)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of sampling, with a temperature (default: %(default)s)")
    add_endpoint_arguments(parser, temperature=0.0)


def _eval(arguments: argparse.Namespace) -> None:
    import shlex

    from tooln1.errors import UserError
    from tooln1.eval.endpoint import EvalEndpoint
    from tooln1.eval.run import BENCHMARKS, Options, evaluate

    names = arguments.bench.split(",")
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise UserError(f"--bench {unknown[0]}: unknown; choose of {', '.join(BENCHMARKS)}")
    endpoint = EvalEndpoint(
        base_url="", interface=arguments.interface, seed=arguments.seed, **endpoint_fields(arguments)
    )
    options = Options(
        output=arguments.output or _default_output(arguments.target),
        benchmarks=list(dict.fromkeys(names)),
        data=arguments.data,
        form=arguments.form,
        template=arguments.template,
        limit=arguments.limit,
        bfcl_python=arguments.bfcl_python,
        serve=shlex.split(arguments.serve),
    )
    text, unanswered = evaluate(arguments.target, endpoint, options)
    _show(text)
    if unanswered:
        print(
            f"{unanswered:,} cases got no reply and are in no figure; the same command asks them again", file=sys.stderr
        )
        raise SystemExit(1)


def _compare(arguments: argparse.Namespace) -> None:
    from tooln1.errors import UserError
    from tooln1.eval.compare import compare

    if len(arguments.runs) < 2:
        raise UserError("compare: give two folders or more")
    _show(compare(arguments.runs))


def _default_output(target: str) -> Path:
    name = Path(target).resolve().name if os.path.isdir(target) else target.rstrip("/").split("://")[-1]
    return Path("runs") / "eval" / "".join(char if char.isalnum() or char in "-." else "_" for char in name)


def _show(text: str) -> None:
    # A model may write what the terminal's encoding cannot show.
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
