"""The quickstart, end to end: one short real run, the same run made longer, and what bad input gets.

The long run happens once: a warm start on 40 conversations, two GRPO steps of four prompts with a checkpoint each,
export, and responses by vLLM; then the same folder is resumed for a third step. Nothing here says that two steps teach
anything: the accuracies of a whole run are measured, not tested.
"""

import json
import os
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

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


def quickstart(folder, *overrides, **variables):
    """Run the script as a user does, in the environment of the tests."""
    known = ("SEED", "MODEL_PATH", "TRAIN_FILE", "VAL_FILE", "WARM_START_ROWS", "VERL_PLATFORM", "DRY_RUN", "CHECK")
    clean = {key: value for key, value in os.environ.items() if key not in known}
    return subprocess.run(
        ["bash", ROOT / "examples" / "run_tiny_cpu_grpo.sh", *overrides],
        env=clean | {"RUN_DIR": str(folder)} | variables,
        capture_output=True,
        text=True,
        timeout=900,
        cwd=folder.parent,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory, left_over):
    """The folder after two steps and after a third, with what was there in between."""
    # A space and an apostrophe, as a user's folder may have them: they pass bash, Hydra, Ray, vLLM and the merger.
    folder = tmp_path_factory.mktemp("quick start") / "it's a run"
    seen = {}
    for steps in (2, 3):
        started = time.time()
        done = quickstart(folder, *SMALL, f"trainer.total_training_steps={steps}", WARM_START_ROWS="40")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
        seen[steps] = {
            "started": started,
            "stdout": done.stdout,
            "stderr": done.stderr,
            "summary": json.loads((folder / "summary.json").read_text()),
            "merged": (folder / "merged" / "model.safetensors").read_bytes(),
            "left_over": left_over(folder) + left_over(folder / "sft"),
            "warm_start": (folder / "sft" / "run.json").stat().st_mtime,
        }
    return folder, seen


def test_every_stage_leaves_what_the_next_one_needs(runs):
    folder, _ = runs
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


def test_the_summary_has_its_figures(runs):
    folder, seen = runs
    for steps, run in seen.items():
        summary = run["summary"]
        assert set(summary) >= KEYS
        assert summary["steps"] == steps
        assert list(summary["reward_by_step"]) == [str(step + 1) for step in range(steps)]
        assert all(0.0 <= reward <= 1.0 for reward in summary["reward_by_step"].values())
        assert 0.0 <= summary["val_acc_before"] <= 1.0
        assert summary["val_acc_after"] is None  # there was no validation after training
        assert 0 < summary["seconds_to_first_step"] < summary["wall_seconds"]
        assert 1 < summary["peak_memory_gb"] < 12
        assert summary["checkpoint"] == str(folder / "checkpoints" / f"global_step_{steps}")
        # The first two steps count as start-up.
        assert (summary["seconds_per_step"] is None) == (steps == 2)


def test_the_closing_table_and_the_progress_are_all_there_is_to_read(runs):
    folder, seen = runs
    for steps, run in seen.items():
        assert f"({steps} steps)" in run["stdout"] and "Reward by step" in run["stdout"]
        assert str(folder / "summary.json") in run["stdout"]
        assert len(run["stdout"].splitlines()) < 60
        assert "GRPO: step" in run["stderr"] and "left]" in run["stderr"]
        assert "Traceback" not in run["stdout"] + run["stderr"]


def test_no_process_is_left_behind(runs):
    _, seen = runs
    assert [run["left_over"] for run in seen.values()] == [[], []]


def test_the_longer_run_resumes_where_the_shorter_one_ended(runs):
    folder, seen = runs
    assert "resuming from step 2" in seen[3]["stdout"]
    assert "resuming" not in seen[2]["stdout"]
    # The warm start and the first two steps were not repeated, and the wall clock adds up.
    assert seen[3]["warm_start"] == seen[2]["warm_start"] < seen[3]["started"]
    first, second = (seen[steps]["summary"]["reward_by_step"] for steps in (2, 3))
    assert {step: second[step] for step in first} == first
    assert seen[3]["summary"]["wall_seconds"] > seen[2]["summary"]["wall_seconds"]
    assert seen[3]["summary"]["val_acc_before"] == seen[2]["summary"]["val_acc_before"]
    assert (folder / "checkpoints" / "latest_checkpointed_iteration.txt").read_text() == "3"


def test_the_exported_model_is_the_last_checkpoint_and_was_evaluated(runs):
    from transformers import AutoModelForCausalLM

    folder, seen = runs
    assert seen[3]["merged"] != seen[2]["merged"]
    assert AutoModelForCausalLM.from_pretrained(folder / "merged").num_parameters() > 1_000_000
    results = json.loads((folder / "eval" / "held_out" / "summary.json").read_text())
    assert len(results["benchmarks"]["rows"]["categories"]) == 7


def test_a_run_with_another_seed_in_the_same_folder_is_refused(runs):
    folder, _ = runs
    done = quickstart(folder, SEED="1")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "seed 0, but SEED is 1" in line and "RUN_DIR=" in line


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
