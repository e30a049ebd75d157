"""The quickstart, end to end: one short real run that is killed and resumed, and what bad input gets.

The run happens once: a warm start on 40 conversations, GRPO steps of four prompts with a checkpoint each, a kill -9
after the first of them, then the same command to the end with export and responses by vLLM. Nothing here says that
three steps teach anything: the accuracies of a whole run are measured, not tested.
"""

import json
import os
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.cpu_engine

ROOT = Path(__file__).resolve().parents[2]

# A small step, and no validation after training: that would be half of the time.
SMALL = [
    "trainer.save_freq=1",
    "trainer.test_freq=-1",
    "data.train_batch_size=4",
    "data.val_max_samples=14",
    "actor_rollout_ref.rollout.n=2",
]

KEYS = {
    "val_acc_before",
    "val_acc_after",
    "reward_by_step",
    "seconds_per_step",
    "seconds_to_first_step",
    "wall_seconds",
    "peak_memory_gb",
    "checkpoint",
}


def command(folder, *overrides, **variables):
    """The arguments of subprocess for the script as a user calls it, in the environment of the tests."""
    known = ("SEED", "MODEL_PATH", "TRAIN_FILE", "VAL_FILE", "WARM_START_ROWS", "VERL_PLATFORM", "DRY_RUN", "CHECK")
    known += ("PAPER", "ACCEPT_CHANGES")
    clean = {key: value for key, value in os.environ.items() if key not in known}
    return {
        "args": ["bash", ROOT / "examples" / "run_tiny_cpu_grpo.sh", *overrides],
        "env": clean | {"RUN_DIR": str(folder)} | variables,
        "text": True,
        "cwd": folder.parent,
    }


def quickstart(folder, *overrides, **variables):
    return subprocess.run(**command(folder, *overrides, **variables), capture_output=True, timeout=900)


def kill_after_the_first_checkpoint(script, folder, patience=600):
    """Send SIGKILL to the script and nothing else; return the last step that was saved."""
    saved = folder / "checkpoints" / "latest_checkpointed_iteration.txt"
    # The driver notes the time of the first step when it sees that step's metrics, after checkpoint and rollouts.
    record = folder / "run.json"
    process = subprocess.Popen(**script, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < deadline:
        if record.exists() and "seconds_to_first_step" in record.read_text():
            break
        time.sleep(0.05)
    process.kill()
    assert saved.exists(), process.communicate()[1][-6000:]
    process.wait()
    return int(saved.read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory, left_over):
    """The folder after a killed attempt and a complete one, with what was there in between."""
    # A space and an apostrophe, as a user's folder may have them: they pass bash, Hydra, Ray, vLLM and the merger.
    folder = tmp_path_factory.mktemp("quick start") / "it's a run"
    script = command(folder, *SMALL, "trainer.total_training_steps=3", WARM_START_ROWS="40")
    killed_at = kill_after_the_first_checkpoint(script, folder)
    resumed = time.time()
    done = subprocess.run(**script, capture_output=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    last_seconds = time.time() - resumed
    return {
        "folder": folder,
        "killed_at": killed_at,
        "last_seconds": last_seconds,
        "resumed": resumed,
        "stdout": done.stdout,
        "stderr": done.stderr,
        "summary": json.loads((folder / "summary.json").read_text()),
        "left_over": left_over(folder) + left_over(folder / "sft"),
    }


def test_every_stage_leaves_what_the_next_one_needs(run):
    folder = run["folder"]
    for name in (
        "model/config.json",
        "world/train.parquet",
        "world/test.parquet",
        "world/sft.parquet",
        "sft/checkpoints/global_step_10/huggingface/config.json",
        "checkpoints/global_step_3/actor/huggingface/config.json",
        "merged/config.json",
        "merged/tokenizer.json",
        "merged/prompt_template.txt",
        "report.html",
        "validation/0.jsonl",
        "rollouts/1.jsonl",
        "rollouts/2.jsonl",
        "rollouts/3.jsonl",
        "logs/warm_start.log",
        "logs/train.log",
        "logs/eval.log",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert pq.read_metadata(folder / "world" / "sft.parquet").num_rows == 40
    assert not list(folder.glob(".*.partial")) and not list(folder.glob(".*.tmp"))


def test_the_summary_has_its_figures(run):
    summary = run["summary"]
    assert set(summary) >= KEYS
    assert summary["steps"] == 3
    assert list(summary["reward_by_step"]) == ["1", "2", "3"]
    assert all(0.0 <= reward <= 1.0 for reward in summary["reward_by_step"].values())
    assert 0.0 <= summary["val_acc_before"] <= 1.0
    assert summary["val_acc_after"] is None  # there was no validation after training
    assert 0 < summary["seconds_to_first_step"] < summary["wall_seconds"]
    assert 1 < summary["peak_memory_gb"] < 12
    assert summary["checkpoint"] == str(run["folder"] / "checkpoints" / "global_step_3")


def test_the_closing_table_and_the_progress_are_all_there_is_to_read(run):
    assert "(3 steps)" in run["stdout"] and "Reward by step" in run["stdout"]
    assert str(run["folder"] / "summary.json") in run["stdout"]
    assert len(run["stdout"].splitlines()) < 60
    assert "GRPO: step" in run["stderr"] and "left]" in run["stderr"]
    assert "Traceback" not in run["stdout"] + run["stderr"]


def test_no_process_is_left_behind(run):
    assert run["left_over"] == []


def test_the_same_command_resumes_where_the_killed_one_saved(run):
    folder = run["folder"]
    assert 1 <= run["killed_at"] < 3
    assert f"resuming from step {run['killed_at']}" in run["stdout"]
    # The warm start and the saved steps were not repeated, and the wall clock counts both attempts' time.
    assert (folder / "sft" / "run.json").stat().st_mtime < run["resumed"]
    rollouts = folder / "rollouts"
    assert all((rollouts / f"{step}.jsonl").stat().st_mtime < run["resumed"] for step in range(1, run["killed_at"] + 1))
    assert (rollouts / "3.jsonl").stat().st_mtime > run["resumed"]
    assert run["summary"]["wall_seconds"] > run["last_seconds"]
    assert (folder / "checkpoints" / "latest_checkpointed_iteration.txt").read_text() == "3"


def test_the_exported_model_is_the_last_checkpoint_and_was_evaluated(run):
    from transformers import AutoModelForCausalLM

    folder = run["folder"]
    assert (folder / "merged").stat().st_mtime > run["resumed"]
    assert AutoModelForCausalLM.from_pretrained(folder / "merged").num_parameters() > 1_000_000
    results = json.loads((folder / "eval" / "held_out" / "summary.json").read_text())
    assert len(results["benchmarks"]["rows"]["categories"]) == 7


@pytest.mark.parametrize(
    "overrides, variables, expected",
    [
        ([], {"SEED": "1"}, "seed 0, but SEED is 1"),
        ([], {"WARM_START_ROWS": "50"}, "another warm start than WARM_START_ROWS=50"),
        (["preset=paper"], {}, "reward.custom_reward_function.path pkg://tooln1.reward_score.toolcall -> "),
        (["preset=paper"], {"ACCEPT_CHANGES": "1"}, "complete at step 3, no step left for the changed settings"),
    ],
)
def test_another_run_in_a_finished_folder_is_refused(overrides, variables, expected, run):
    done = quickstart(run["folder"], *SMALL, "trainer.total_training_steps=3", *overrides, **variables)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and expected in line
    assert "finished already" not in done.stdout and "before  after" not in done.stdout


@pytest.mark.parametrize(
    "variables, overrides, expected",
    [
        ({"TRAIN_FILE": "none.parquet", "MODEL_PATH": "{model}"}, [], "none.parquet: no such file"),
        ({}, ["trainer.save_freq=-1"], "trainer.save_freq=-1: no checkpoint would be written"),
        ({"SEED": "x"}, [], "SEED=x: expected a whole number"),
        ({"WARM_START_ROWS": "0"}, [], "WARM_START_ROWS=0: expected a number"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_before_anything_starts(
    variables, overrides, expected, tmp_path, tiny_model, left_over
):
    folder = tmp_path / "run"
    variables = {name: value.format(model=tiny_model) for name, value in variables.items()}
    done = quickstart(folder, *overrides, **variables)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert expected in line
    # The folder belongs to no run: the corrected command may use it.
    assert not (folder / "logs").exists() and not (folder / "run.json").exists()
    assert left_over(folder) == []
