"""A GRPO step on the CPU: verl with vLLM and Ray, and TRL's GRPOTrainer without, in one measurement.

    python benchmarks/cpu_step.py --run runs/tiny [--steps 20] [--trl-environment DIR]

Both train the quickstart's warm-started model on its training rows, with the settings of tool_n1_grpo_cpu.yaml and the
same reward, one after the other on the same machine. TRL is installed into a separate environment on the first call.
Times are medians over the steps after the first three. "waiting" is the time of a step outside its phases.
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import tempfile
import venv
from pathlib import Path

import pyarrow.parquet as pq

from tooln1.errors import UserError, run_command
from tooln1.files import format_table, read_jsonl, write_json
from tooln1.platforms.environment import cpu_environment
from tooln1.run_folder import REWARD, RunFolder, checkpoint_folder, tracked_step
from tooln1.settings import Settings
from tooln1.train.stage import run_stage
from tooln1.train.verl_command import train_command, train_environment

ROOT = Path(__file__).resolve().parents[1]
TRL = "trl==1.16.0"
WARM_UP = 3
PHASES = {
    "gen": "generation and reward",
    "old_log_prob": "old log-probs",
    "ref": "reference log-probs",
    "adv": "advantages",
    "update_actor": "update",
    "update_weights": "weight sync",
}


def trl_environment(folder: Path) -> Path:
    """Return the Python of an environment with TRL and torch's CPU build, installed on the first call."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing {TRL} into {folder} …", flush=True)
        venv.create(folder, with_pip=True)
        torch = f"torch=={importlib.metadata.version('torch')}"
        index = os.environ.get("TORCH_CPU_INDEX", "https://download.pytorch.org/whl/cpu")
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        if subprocess.run([*pip, torch], stderr=subprocess.DEVNULL).returncode:
            subprocess.run([*pip, "--index-url", index, torch], check=True)
        subprocess.run([*pip, TRL], check=True)
        (folder / "ready").touch()
    return python


def settings_of(run: Path, steps: int, folder: Path) -> Settings:
    """Return the settings of the quickstart in ``run`` for some steps in another folder. Raises UserError."""
    sft = RunFolder(run / "sft").checkpoints
    step = tracked_step(sft)
    if step is None:
        raise UserError(f"{run}: no warm-started model in it; run examples/run_tiny_cpu_grpo.sh first")
    overrides = (
        f"data.seed={(run / 'seed').read_text().strip()}",
        f"trainer.total_training_steps={steps}",
        *("trainer.save_freq=-1", "trainer.test_freq=-1", "trainer.v1.trainer_mode=sync"),
        *("trainer.rollout_data_dir=null", "trainer.validation_data_dir=null"),
    )
    model = checkpoint_folder(sft, step) / "huggingface"
    return Settings("tool_n1_grpo_cpu", overrides, folder, str(model), str(run / "world" / "train.parquet"))


def run_verl(settings: Settings, folder: Path) -> dict:
    """Return verl's seconds by step, and rewards."""
    metrics = folder / "verl.jsonl"
    variables = {"VERL_FILE_LOGGER_PATH": str(metrics)}
    command = train_command(settings, variables, validate_first=False)
    run_stage([*command, "trainer.val_before_train=false"], train_environment(settings, variables), folder / "verl.log")
    records = [line.value["data"] for line in read_jsonl(metrics) if REWARD in line.value["data"]]
    times = [{name.removeprefix("timing_s/"): value for name, value in record.items()} for record in records]
    return {"steps": times, "rewards": [record[REWARD] for record in records]}


def run_trl(settings: Settings, folder: Path, python: Path) -> dict:
    """Return TRL's seconds by step, rewards and versions."""
    config = settings.composed
    rollout, actor = config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor
    arguments = {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": config.data.train_batch_size * rollout.n,
        "num_generations": rollout.n,
        "max_completion_length": config.data.max_response_length,
        "temperature": rollout.temperature,
        "learning_rate": actor.optim.lr,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": actor.optim.min_lr_ratio},
        "beta": actor.kl_loss_coef,
        "max_steps": config.trainer.total_training_steps,
        "seed": config.data.seed,
        **{"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "model_init_kwargs": {"dtype": "float32"}},
        **{"save_strategy": "no", "report_to": [], "logging_steps": 1, "disable_tqdm": True},
    }
    rows = pq.read_table(settings.train_files[0]).to_pylist()
    task = {
        "model": settings.model_path,
        "reward": str(ROOT / "tooln1" / "reward_score" / "toolcall.py"),
        "config": arguments,
        "rows": [{"prompt": row["prompt"], "ground_truth": row["reward_model"]["ground_truth"]} for row in rows],
    }
    write_json(folder / "settings.json", task)
    command = [python, ROOT / "benchmarks" / "trl_step.py", folder / "settings.json", folder / "trl.json"]
    malloc = {name: value for name, value in cpu_environment(folder).items() if name.startswith("MALLOC_")}
    run_stage(list(map(str, command)), os.environ | malloc, folder / "trl.log")
    return json.loads((folder / "trl.json").read_text())


def median(steps: list[dict], name: str) -> float:
    """Return the median of a phase over the steps after the warm-up; 0 if there is no such phase."""
    return statistics.median(step.get(name, 0.0) for step in steps[WARM_UP:])


def table(verl: dict, trl: dict) -> str:
    """Return the phases side by side, in seconds a step."""
    halves = [half["steps"] for half in (verl, trl)]
    rows = [[label, *(median(steps, name) for steps in halves)] for name, label in PHASES.items()]
    rows[0][2] += median(trl["steps"], "reward")
    totals = [median(steps, "step") for steps in halves]
    rest = [max(0.0, total - sum(row[column] for row in rows)) for column, total in enumerate(totals, 1)]
    rows += [["waiting and the rest", *rest], ["a step", *totals]]
    rows.append(["reward, mean of the last five", *(statistics.mean(half["rewards"][-5:]) for half in (verl, trl))])
    return format_table(["seconds", "verl", "TRL"], [[name, f"{ours:.2f}", f"{trls:.2f}"] for name, ours, trls in rows])


def main() -> None:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished quickstart")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--trl-environment", type=Path, default=ROOT / ".venv-trl", help="installed if it is missing")
    arguments = parser.parse_args()
    if arguments.steps <= WARM_UP:
        raise UserError(f"--steps {arguments.steps}: expected more than {WARM_UP}, the steps of the warm-up")
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(arguments.run.resolve(), arguments.steps, Path(folder))
        python = trl_environment(arguments.trl_environment.resolve())
        verl, trl = run_verl(settings, Path(folder)), run_trl(settings, Path(folder), python)
    versions = {"verl": importlib.metadata.version("verl"), **trl["versions"]}
    print(", ".join(f"{name} {version}" for name, version in versions.items()), f"on {os.cpu_count()} cores\n")
    print(table(verl, trl))


if __name__ == "__main__":
    run_command(main)
