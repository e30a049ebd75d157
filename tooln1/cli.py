"""The command line `tooln1 …`: every command and its arguments.

Each command imports what it needs when it runs, so that `tooln1 --help` answers at once. Exit codes: tooln1/errors.py.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tooln1 import __version__
from tooln1.arguments import Parser, add_asking_arguments, add_endpoint_arguments, not_negative, positive
from tooln1.errors import UserError, run_command
from tooln1.files import show
from tooln1.reward_score import REWARDS
from tooln1.reward_score.toolcall import VARIANTS

if TYPE_CHECKING:
    from tooln1.settings import Settings


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    arguments = parse(argv)
    run_command(lambda: arguments.run(arguments))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read a command line; ``run`` of what is returned is the command. Exits with code 2 for a mistake."""
    parser = Parser(prog="tooln1", description="Train tool-calling language models with verl")
    parser.add_argument("--version", action="version", version=f"tooln1 {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_validate, _doctor, _train, _report, _score, _export, _serve, _eval, _compare):
        add(commands)
    arguments, further = parser.parse_known_args(argv)
    # argparse takes all positionals of one place only; settings may also follow options.
    if any(text.startswith("-") for text in further) or (further and not hasattr(arguments, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(further)}")
    if further:
        arguments.overrides += further
    return arguments


def _validate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("validate", help="check parquet files for training")
    parser.add_argument("files", nargs="+", metavar="PARQUET")

    def command(arguments: argparse.Namespace) -> None:
        from tooln1.data.validate import validate_files

        for path, rows in validate_files(arguments.files).items():
            print(f"{path}: {rows} rows, all right")

    parser.set_defaults(run=command)


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `tooln1 train` and `tooln1 doctor` share: everything that defines a run."""
    parser.add_argument("config", help="a configuration of the recipe, such as tool_n1_grpo, or a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings of verl, such as trainer.save_freq=5"
    )
    parser.add_argument("--run-dir", type=Path, metavar="DIR", help="the run folder (default: runs/CONFIG)")
    parser.add_argument("--model", metavar="MODEL", help="a model's folder, or its name on the Hugging Face hub")
    parser.add_argument("--train-file", metavar="PARQUET", help="the rows to train on")
    parser.add_argument(
        "--val-file", metavar="PARQUET", help="the rows to validate on (default: test.parquet beside the training file)"
    )
    parser.add_argument(
        "--accept-changes", action="store_true", help="continue the folder's run under other settings, and note it"
    )


def _settings(arguments: argparse.Namespace, **more: bool) -> "Settings":
    from tooln1.settings import Settings

    return Settings(
        config=arguments.config,
        overrides=tuple(arguments.overrides),
        run_dir=arguments.run_dir,
        model=arguments.model,
        train_file=arguments.train_file,
        val_file=arguments.val_file,
        accept_changes=arguments.accept_changes,
        **more,
    )


def _doctor(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "doctor",
        help="check a run before it starts",
        description="Checks a run before it starts: settings, versions, GPUs, data, reward, disk, and the memory that "
        "each phase of a step needs. Every finding is one line; the exit code is 2 if one of them is a fault.",
    )
    _add_run_arguments(parser)
    parser.add_argument("--gpus", type=positive, help="plan for a machine with so many GPUs a node instead of this one")
    parser.add_argument("--gpu-memory", type=float, metavar="GIB", help="of each of them (default: 80)")

    def command(arguments: argparse.Namespace) -> int:
        from tooln1.checks import doctor

        settings = _settings(arguments)
        return doctor(settings, gpus=arguments.gpus, gpu_memory=arguments.gpu_memory)

    parser.set_defaults(run=command)


def _train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train",
        help="train: resumed, recorded, stopped by SIGTERM with a checkpoint",
        epilog="Exit codes: 0 finished, 75 stopped by SIGTERM with a checkpoint, 2 mistake in the input, 1 failure.",
    )
    _add_run_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("--check-only", action="store_true", help="check the run as before its start, and stop")
    parser.add_argument(
        "--verify-checkpoint", action="store_true", help="read all of the checkpoint before resuming from it"
    )

    def command(arguments: argparse.Namespace) -> int:
        from tooln1.checks import UpcomingRun
        from tooln1.report import make_own_report
        from tooln1.train.launch import check, dry_run, train

        settings = _settings(arguments, verify_checkpoint=arguments.verify_checkpoint)
        if arguments.dry_run:
            print(dry_run(settings), end="")
            return 0
        if arguments.check_only:
            check(UpcomingRun(settings))
            return 0
        code = train(settings)
        make_own_report(settings.folder)
        return code

    parser.set_defaults(run=command)


def _report(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("report", help="write one HTML page of a run of verl, or of several overlaid")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, or a file logger's .jsonl")
    parser.add_argument("-o", "--output", type=Path, help="the page (default: report.html in the first run's folder)")
    parser.add_argument("--text", action="store_true", help="print the summary as plain text and write no page")
    parser.add_argument("--summary", action="store_true", help="also write summary.json and print the closing table")
    parser.add_argument(
        "--wall-seconds", type=float, metavar="S", help="seconds of the whole run (default: of its attempts)"
    )
    parser.add_argument("--figures", type=Path, metavar="DIR", help="also write every chart as PNG and SVG")
    parser.add_argument("--watch", action="store_true", help="write the page again and again until Ctrl-C")
    parser.add_argument(
        "--every", type=positive, default=30, metavar="S", help="seconds between two pages (default: %(default)s)"
    )
    parser.add_argument(
        "--rollouts",
        type=not_negative,
        default=8000,
        metavar="N",
        help="rollouts shown at most (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="decides which rollouts are shown (default: %(default)s)")

    def command(arguments: argparse.Namespace) -> None:
        from tooln1.report import report_command

        report_command(arguments)

    parser.set_defaults(run=command)


def _score(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("score", help="score the responses of a rollout dump or another JSON Lines file")
    parser.add_argument("path", type=Path, metavar="FILE", help="responses and ground truths, or a folder of them")
    parser.add_argument("--reward", choices=REWARDS, default="strict", help="which reward (default: %(default)s)")
    parser.add_argument("--variant", choices=VARIANTS, default="binary", help="of the reward (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="where to write each response's scores (default: beside FILE)")
    parser.add_argument("--explain", type=int, metavar="N", help="only show response N, its first mistake marked")

    def command(arguments: argparse.Namespace) -> None:
        from tooln1.analysis.score import explain_row, score_files

        if arguments.explain is None:
            show(score_files(arguments.path, arguments.output, arguments.reward, arguments.variant))
        else:
            show(explain_row(arguments.path, arguments.explain, arguments.reward, arguments.variant))

    parser.set_defaults(run=command)


def _export(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("export", help="write a checkpoint of a run as a Hugging Face model with a model card")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the folder of a run")
    parser.add_argument(
        "--step", default="best", help="a step, best (by validation accuracy; last if there is none), or last"
    )
    parser.add_argument("--output", type=Path, required=True, help="the model's folder, which must not exist yet")
    parser.add_argument("--push", metavar="NAME", help="upload the model to the Hugging Face hub as NAME, privately")

    def command(arguments: argparse.Namespace) -> None:
        from tooln1.export.export import export, push

        print(export(arguments.run_dir, arguments.step, arguments.output, arguments.push))
        if arguments.push:
            print(push(arguments.output, arguments.push))

    parser.set_defaults(run=command)


def _serve_options() -> Parser:
    options = Parser(add_help=False)
    options.add_argument("--template", help="another prompt template: a file, thinking, compact, or direct")
    options.add_argument("--chat-template", metavar="FILE", help="replaces the model's own chat template")
    options.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)"
    )
    options.add_argument("--port", type=not_negative, default=8000, help="port to listen on (default: %(default)s)")
    options.add_argument(
        "--api-key",
        "--api_key",
        action="append",
        default=[],
        metavar="KEY",
        help="every request but /health and /ping must carry it (better: the variable VLLM_API_KEY)",
    )
    options.add_argument(
        "--shutdown-timeout",
        "--shutdown_timeout",
        type=not_negative,
        default=30,
        metavar="S",
        help="seconds that running requests have after SIGTERM or Ctrl-C (default: %(default)s)",
    )
    options.add_argument("--dry-run", action="store_true", help="print the command instead of running it")
    return options


def _serve(commands: argparse._SubParsersAction) -> None:
    options = _serve_options()
    parser = commands.add_parser(
        "serve",
        parents=[options],
        help="answer /v1/chat/completions with tool calls, through vLLM",
        epilog="Every further option is passed on to vllm serve, for instance --port 8001.",
    )
    parser.add_argument("checkpoint", metavar="MODEL", help="an exported model, or any other: a folder or a hub name")
    parser.add_argument("vllm_options", nargs=argparse.REMAINDER, metavar="VLLM_OPTION", help="options of vllm serve")

    def command(arguments: argparse.Namespace) -> None:
        from tooln1.serve.command import build_command, check_address, show_command
        from tooln1.serve.command import run as run_server
        from tooln1.serve.middleware import KEYS_VARIABLE

        # After MODEL argparse takes everything for VLLM_OPTION, also our own options.
        arguments, further = options.parse_known_args(arguments.vllm_options, arguments)
        if further and not further[0].startswith("-"):  # it may be a key, so it is not shown
            raise UserError("a word that belongs to no option follows MODEL; give --api-key once for each key")
        places = [
            f"--{name}={getattr(arguments, name.replace('-', '_'))}" for name in ("host", "port", "shutdown-timeout")
        ]
        command, environment = build_command(
            arguments.checkpoint, [*places, *further], arguments.template, arguments.chat_template, arguments.api_key
        )
        line = show_command(command, environment)
        if arguments.dry_run:
            print(line)
            return
        if not any(option.startswith("--uds") for option in further):
            check_address(arguments.host, arguments.port, has_key=bool(environment[KEYS_VARIABLE]))
        print(line, file=sys.stderr)
        run_server(command, environment, arguments.shutdown_timeout)

    parser.set_defaults(run=command)


def _eval(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("eval", help="evaluate a model on BFCL, API-Bank, ACEBench or held-out rows")
    parser.add_argument(
        "target",
        metavar="MODEL_OR_RUN_OR_URL",
        help="a model's folder, a run folder (its best checkpoint), or http://host:port/v1",
    )
    parser.add_argument(
        "--bench",
        default="bfcl,api_bank,acebench",
        help="benchmarks, separated by commas, also bfcl_multi_turn, bfcl_format_sensitivity, and rows, a parquet file "
        "for training (default: %(default)s)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="folder with the data of API-Bank and ACEBench, or the file of rows"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the results (default: runs/eval/MODEL)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N cases of each category")
    parser.add_argument("--template", help="the prompt template: a file, compact, direct, or paper-like (thinking)")
    parser.add_argument("--form", choices=("function_calling", "dialogues"), help="which form of API-Bank's data")
    parser.add_argument("--bfcl-python", metavar="FILE", help="Python of BFCL's environment (default: .venv-bfcl's)")
    parser.add_argument("--model", default="", metavar="NAME", help="the endpoint's name for it (default: its first)")
    add_asking_arguments(parser)
    add_endpoint_arguments(parser, temperature=0.0)
    parser.add_argument(
        "--serve", type=shlex.split, default="", metavar="OPTIONS", help="for a checkpoint: options of tooln1 serve"
    )

    parser.set_defaults(run=_run_eval)


def _run_eval(arguments: argparse.Namespace) -> int:
    from tooln1.eval.run import default_output, evaluate_command
    from tooln1.run_folder import RunFolder

    if not RunFolder(arguments.target).checkpoints.is_dir():
        return evaluate_command(arguments, arguments.target, arguments.output or default_output(arguments.target))
    from tooln1.export.export import export_best

    model, folder = export_best(Path(arguments.target))
    code = evaluate_command(arguments, str(model), arguments.output or folder)
    export_best(Path(arguments.target))  # now its card tells the results
    return code


def _compare(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("compare", help="put evaluations side by side, with a paired test")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output folders of tooln1 eval, two or more")

    def command(arguments: argparse.Namespace) -> None:
        from tooln1.eval.compare import compare

        if len(arguments.runs) < 2:
            raise UserError("compare: give two folders or more")
        show(compare(arguments.runs))

    parser.set_defaults(run=command)


if __name__ == "__main__":
    main()
