"""`tooln1 train`."""

import argparse
import signal
import sys


def add_commands(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser(
        "train",
        help="a training run: resumed, recorded, stopped by SIGTERM with a checkpoint",
        description="Settings come from the environment, as recipes in shell set them: MODEL_PATH, TRAIN_FILE, "
        "VAL_FILE, RUN_DIR, ENGINE=vllm|sglang, PAPER=1, PLATFORM=cpu, LOGGERS=console,file,tensorboard,wandb, "
        "VERIFY=full (read all of the checkpoint before resuming), DRY_RUN=1 (print the configuration and stop). "
        "Exit codes: 0 finished, 75 stopped by SIGTERM with a checkpoint, 2 a mistake in the input, 1 a failure.",
    )
    train.add_argument("config", help="a configuration of the recipe, such as tool_n1_grpo, or a YAML file")
    train.add_argument("overrides", nargs="*", help="settings of verl's, such as trainer.save_freq=5")
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> None:
    from tooln1.train.launch import dry_run, train
    from tooln1.train.process import StageError
    from tooln1.train.settings import settings_from_environment

    # A shell script that starts this in its background has made it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings = settings_from_environment(arguments.config, arguments.overrides)
    if settings.is_dry_run:
        print(dry_run(settings), end="")
        return
    try:
        code = train(settings)
    except StageError as error:
        print(f"{error}\nThe same command goes on from the last checkpoint.", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        code = 128 + signal.SIGINT
    raise SystemExit(code)
