"""A GRPO step on the CPU: verl with its engine and Ray, beside TRL's GRPOTrainer with neither, in one run.

    python benchmarks/cpu_step.py --run runs/tiny [--steps 20] [--trl-environment DIR]

Both train the quickstart's warm-started model on its training rows with the settings of tool_n1_grpo_cpu.yaml and the
same reward, one after the other on the same machine. TRL gets an environment of its own, made on the first call. Times
are medians over the steps after the first three; "waiting" is what a step holds beside its phases.
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import pyarrow.parquet as pq
from tooln1.tiny.stages import ROOT, Run, grpo_command

from tooln1.errors import UserError
from tooln1.files import format_table
from tooln1.platforms.environment import cpu_environment
from tooln1.train.metrics import REWARD, read_jsonl

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
    """The Python of an environment with TRL and torch's CPU build, made if it is not there."""
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


def run_verl(run: Run, steps: int, folder: Path) -> dict:
    """verl's times by step, in seconds, and rewards."""
    metrics = folder / "verl.jsonl"
    settings = [
        f"trainer.total_training_steps={steps}",
        "trainer.save_freq=-1",
        "trainer.test_freq=-1",
        "trainer.resume_mode=disable",
        f"trainer.default_local_dir={folder / 'checkpoints'}",
        "trainer.rollout_data_dir=null",
        "trainer.validation_data_dir=null",
        f"hydra.run.dir={folder / 'hydra'}",
    ]
    command = [*grpo_command(run, val_before_train=False), *settings]
    environment = cpu_environment(folder) | {"VERL_FILE_LOGGER_PATH": str(metrics)}
    with (folder / "verl.log").open("w") as log:
        code = subprocess.run(command, env=environment, stdout=log, stderr=log).returncode
    if code:
        raise UserError(f"verl ended with exit code {code}; its log is {folder / 'verl.log'}")
    records = [record["data"] for record in read_jsonl(metrics) if REWARD in record["data"]]
    times = [{name.removeprefix("timing_s/"): value for name, value in record.items()} for record in records]
    return {"steps": times, "rewards": [record[REWARD] for record in records]}


def run_trl(run: Run, steps: int, folder: Path, python: Path) -> dict:
    """TRL's times by step, in seconds, and rewards."""
    config = run.config
    prompts = folder / "prompts.jsonl"
    with prompts.open("w") as lines:
        for row in pq.read_table(run.train).to_pylist():
            lines.write(
                json.dumps({"prompt": row["prompt"], "ground_truth": row["reward_model"]["ground_truth"]}) + "\n"
            )
    rollout, actor = config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor
    settings = {
        "steps": steps,
        "prompts": config.data.train_batch_size,
        "n": rollout.n,
        "temperature": rollout.temperature,
        "max_response_length": config.data.max_response_length,
        "lr": actor.optim.lr,
        "kl_loss_coef": actor.kl_loss_coef,
        "seed": run.seed,
    }
    output = folder / "trl.json"
    command = [str(python), str(ROOT / "benchmarks" / "trl_step.py")]
    files = ["--model", run.start_model, "--prompts", str(prompts), "--output", str(output)]
    reward = ["--reward", str(ROOT / "tooln1" / "reward_score" / "toolcall.py"), "--settings", json.dumps(settings)]
    malloc = {name: value for name, value in cpu_environment(folder).items() if name.startswith("MALLOC_")}
    with (folder / "trl.log").open("w") as log:
        code = subprocess.run([*command, *files, *reward], env=os.environ | malloc, stdout=log, stderr=log).returncode
    if code:
        raise UserError(f"TRL ended with exit code {code}; its log is {folder / 'trl.log'}")
    return json.loads(output.read_text())


def median(steps: list[dict], name: str) -> float:
    """The median of a phase over the steps after the warm-up; 0 where there is no such phase."""
    return statistics.median(step.get(name, 0.0) for step in steps[WARM_UP:])


def table(verl: dict, trl: dict) -> str:
    """The phases side by side, in seconds a step."""
    rows = []
    for name, label in PHASES.items():
        ours, theirs = median(verl["steps"], name), median(trl["steps"], name)
        if name == "gen":
            theirs += median(trl["steps"], "reward")
        rows.append([label, f"{ours:.2f}", f"{theirs:.2f}"])
    totals = [median(half["steps"], "step") for half in (verl, trl)]
    others = [total - sum(float(row[column]) for row in rows) for column, total in enumerate(totals, 1)]
    rows.append(["waiting and the rest", *(f"{max(0.0, other):.2f}" for other in others)])
    rows.append(["a step", *(f"{total:.2f}" for total in totals)])
    rows.append(["reward, mean of the last five", *(f"{statistics.mean(h['rewards'][-5:]):.2f}" for h in (verl, trl))])
    return format_table(["seconds", "verl", "TRL"], rows)


def main() -> None:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished quickstart")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trl-environment", type=Path, default=ROOT / ".venv-trl", help="made if it is not there")
    arguments = parser.parse_args()
    run = Run(folder=arguments.run.resolve(), seed=arguments.seed)
    try:
        if not (run.folder / "warm_start" / "config.json").exists():
            raise UserError(f"{run.folder}: no warm_start in it; run examples/run_tiny_cpu_grpo.sh first")
        if arguments.steps <= WARM_UP:
            raise UserError(f"--steps {arguments.steps}: expected more than the {WARM_UP} that warm up")
        python = trl_environment(arguments.trl_environment.resolve())
        with tempfile.TemporaryDirectory() as folder:
            verl = run_verl(run, arguments.steps, Path(folder))
            trl = run_trl(run, arguments.steps, Path(folder), python)
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    versions = {"verl": importlib.metadata.version("verl"), **trl["versions"]}
    print(", ".join(f"{name} {version}" for name, version in versions.items()), f"on {os.cpu_count()} cores\n")
    print(table(verl, trl))


if __name__ == "__main__":
    main()
