"""`tooln1 serve`."""

import argparse
import shlex
import sys


def add_commands(commands: argparse._SubParsersAction) -> None:
    options = _options()
    serve = commands.add_parser(
        "serve",
        parents=[options],
        help="answer /v1/chat/completions with tool calls, through vLLM",
        epilog="Every further option is passed on to vllm serve, for instance --port 8001.",
    )
    serve.add_argument("checkpoint", metavar="CHECKPOINT", help="a merged model: a folder or a name on the hub")
    serve.add_argument("vllm_options", nargs=argparse.REMAINDER, metavar="VLLM_OPTION", help="options of vllm serve")
    serve.set_defaults(run=_serve)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--template", help="the training's prompt template: a file, compact, or direct (thinking)")
    options.add_argument("--dry-run", action="store_true", help="print the command instead of running it")
    return options


def _serve(arguments: argparse.Namespace) -> None:
    from tooln1.serve.command import build_command, run

    # After CHECKPOINT argparse takes everything for VLLM_OPTION, also our own options.
    arguments, further = _options().parse_known_args(arguments.vllm_options, arguments)
    command, environment = build_command(arguments.checkpoint, further, arguments.template)
    line = shlex.join([*(f"{key}={value}" for key, value in environment.items()), *command])
    if arguments.dry_run:
        print(line)
        return
    print(line, file=sys.stderr)
    run(command, environment)
