"""`tooln1 doctor`."""

import argparse

_DESCRIPTION = """\
Checks a run before it starts: settings, versions, GPUs, data, reward, disk, and the memory that each phase of a step
needs. Every finding is one line; the exit code is 2 if one of them is a fault.
"""
_EPILOG = """\
examples:
  tooln1 doctor tool_n1_grpo actor_rollout_ref.model.path=models/Qwen2.5-7B-Instruct \\
      data.train_files=data/mix/train.parquet data.val_files=data/mix/test.parquet
  tooln1 doctor tool_n1_grpo actor_rollout_ref.model.path=models/Qwen2.5-7B-Instruct --gpus 8 --gpu-memory 80
"""


def add_commands(commands: argparse._SubParsersAction) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="check a run before it starts",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument(
        "recipe", nargs="?", default="tool_n1_grpo", help="a recipe's name or a YAML file (default: %(default)s)"
    )
    doctor.add_argument("overrides", nargs="*", help="settings as Hydra takes them: key=value")
    doctor.add_argument("--gpus", type=int, help="plan for a machine with so many GPUs a node instead of this one")
    doctor.add_argument("--gpu-memory", type=float, metavar="GIB", help="of each of them (default: 80)")
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> None:
    from tooln1.doctor.main import doctor

    recipe, overrides = arguments.recipe, arguments.overrides
    if "=" in recipe:  # overrides alone, for the default recipe
        recipe, overrides = "tool_n1_grpo", [recipe, *overrides]
    raise SystemExit(doctor(recipe, overrides, gpus=arguments.gpus, gpu_memory=arguments.gpu_memory))
