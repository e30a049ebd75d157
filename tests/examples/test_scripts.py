"""The scripts of examples/, with a `tooln1` that only prints its arguments: what each script launches, and how it ends.

test_scripts_engine.py lets verl check what they launch; test_real_runs_engine.py trains.
"""

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from example_scripts import EXAMPLES, ROOT, SHELL, TRAINING, environment, launched, replace_program, run_script

from tooln1.reward_score.toolcall import compute_score


@pytest.fixture
def files(tmp_path):
    """The variables for data files that exist."""
    names = {"TRAIN_FILE": "train.parquet", "VAL_FILE": "test.parquet", "SFT_TRAIN_FILE": "train.parquet"}
    for name in names.values():
        (tmp_path / name).touch()
    return {variable: str(tmp_path / name) for variable, name in names.items()}


@pytest.fixture
def data(tmp_path):
    """The variable for a folder of prepared data, all of which exist."""
    for name in (
        "about-21k",
        "halves",
        "sft-reason-half",
        "xlam-only",
        "toolace-single",
        "toolace-only",
        "full",
        "mine",
    ):
        (tmp_path / "data" / name).mkdir(parents=True)
        for side in ("train", "test"):
            (tmp_path / "data" / name / f"{side}.parquet").touch()
    (tmp_path / "data" / "single-turn-5518").symlink_to("halves")
    return {"DATA_DIR": str(tmp_path / "data")}


def option(run, name):
    return run[run.index(name) + 1]


def setting(run, key):
    return [text.partition("=")[2] for text in run if text.lstrip("+").startswith(f"{key}=")][-1]


def test_shellcheck_finds_nothing():
    checker = shutil.which("shellcheck", path=environment()["PATH"])
    if checker is None:
        pytest.skip("shellcheck is not installed; it comes with the extra [dev]")
    command = [checker, "--external-sources", "--exclude=SC1091", "--source-path=SCRIPTDIR", f"--source-path={ROOT}"]
    done = subprocess.run([*command, *map(str, SHELL)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", TRAINING, ids=str)
def test_every_run_has_its_own_folder_and_name_and_gets_the_users_settings(script, tmp_path):
    mine = ["trainer.save_freq=3", "trainer.project_name='two words'"]
    runs = launched(tmp_path, script, *mine)
    folders = {Path(option(run, "--run-dir")) for run in runs}
    paper = {Path(option(run, "--run-dir")) for run in launched(tmp_path, script, PAPER=1)}
    names = {setting(run, "trainer.experiment_name") for run in runs}
    assert len(folders) == len(names) == len(runs) > 0
    assert len(paper) == len(folders) and not paper & folders
    assert all(ROOT / "runs" in folder.parents for folder in folders | paper)
    assert runs[-1][-2:] == mine


@pytest.mark.parametrize(
    "script, variables, expected",
    [
        ("run_qwen14b_grpo.sh", {"PAPER": 0}, ["platform=8x80gb_offload", "a=1"]),
        ("run_qwen14b_grpo.sh", {"PAPER": 1, "ENGINE": "sglang"}, ["a=1", "rollout_engine=sglang", "preset=paper"]),
        ("run_qwen14b_grpo.sh", {"PLATFORM": "cpu", "ENGINE": "vllm"}, ["a=1", "rollout_engine=null", "platform=cpu"]),
        ("ablations/table3_reason_sft.sh", {"PLATFORM": "cpu", "ENGINE": "vllm"}, ["a=1", "sft_platform=cpu"]),
    ],
)
def test_groups_of_the_environment_come_last_so_that_they_win(script, variables, expected, tmp_path):
    (run,) = launched(tmp_path, script, "a=1", **variables)
    assert run[-len(expected) :] == expected


@pytest.mark.parametrize(
    "variables, command",
    [
        ({"CHECK": 1}, ["doctor"]),
        ({"DRY_RUN": 1}, ["train", "--dry-run"]),
        ({}, ["train"]),
        ({"VERIFY": "full"}, ["train", "--verify-checkpoint"]),
    ],
)
def test_the_environment_chooses_model_files_folder_and_loggers_alike(variables, command, tmp_path, files):
    folder, train = tmp_path / "run", files["TRAIN_FILE"]
    mine = {"MODEL_PATH": "me/mine", "TRAIN_FILE": train, "RUN_DIR": folder, "LOGGERS": "console, wandb", "CHECK": 0}
    mine["ACCEPT_CHANGES"] = 1
    (run,) = launched(tmp_path, "run_qwen7b_grpo.sh", **mine | variables)
    assert run == [
        *(*command, "--run-dir", str(folder), "--model", "me/mine", "--train-file", train),
        *("--val-file", files["VAL_FILE"], "--accept-changes", "trainer.logger=[console,wandb]"),
        *("tool_n1_grpo", "trainer.experiment_name=qwen7b_grpo"),
    ]


def test_a_dry_run_of_a_sweep_shows_its_first_run(tmp_path):
    assert len(launched(tmp_path, "run_qwen_scaling.sh", DRY_RUN=1)) == 1


@pytest.mark.parametrize("check, runs", [(1, 4), (0, 1)])
def test_a_failure_ends_a_sweep_but_not_its_check(check, runs, tmp_path, files):
    path = replace_program(tmp_path, "#!/bin/sh\necho run\nexit 7\n")
    done = run_script("ablations/table4_rewards.sh", PATH=path, CHECK=check, **files)
    assert (done.returncode, done.stdout) == (7, "run\n" * runs)


def test_the_four_rewards_are_those_of_the_scorer(tmp_path):
    runs = launched(tmp_path, "ablations/table4_rewards.sh")
    variants = [setting(run, "reward.custom_reward_function.reward_kwargs.variant") for run in runs]
    call = '[{"name": "f", "arguments": {}}]'
    scores = {variant: compute_score("x", "<think>so</think>", call, variant=variant)["score"] for variant in variants}
    assert scores == {"binary": 0, "binary_no_reason": 0, "partial_reason": 0.2, "partial_reason_name": 0.2}


@pytest.mark.parametrize("script", TRAINING, ids=str)
def test_missing_data_is_one_line_and_exit_code_2(script, tmp_path):
    done = run_script(script, DATA_DIR=tmp_path, RUN_DIR=tmp_path / "run")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and ".parquet: no such file" in line
    assert f": {tmp_path}/" in line and f"'DATA_DIR={tmp_path} bash {EXAMPLES / 'prepare_data.sh'}" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "script, variables, argument, expected",
    [
        ("run_qwen_scaling.sh", {"MODEL_PATH": "me/mine"}, None, "MODEL_PATH is given"),
        ("run_llama_grpo.sh", {"MODEL_PATH": "me/mine", "VERSIONS": "3"}, None, "MODEL_PATH is given"),
        ("run_llama_grpo.sh", {}, "actor_rollout_ref.model.path=me/mine", "model.path is given"),
        (
            "ablations/table4_rewards.sh",
            {},
            "++reward.custom_reward_function.reward_kwargs.variant=x",
            "variant is given",
        ),
        ("ablations/table5_mixtures.sh", {"TRAIN_FILE": "x.parquet"}, None, "TRAIN_FILE is given"),
        ("ablations/table5_mixtures.sh", {}, "data.train_files=x.parquet", "data.train_files is given"),
        ("run_qwen_scaling.sh", {"SIZES": "3B 8B"}, None, "SIZES=8B: expected 0.5B or 1.5B or"),
        ("run_llama_grpo.sh", {"VERSIONS": "2"}, None, "VERSIONS=2: expected 3 or 3.1"),
        ("ablations/table4_rewards.sh", {"VARIANTS": " "}, None, "VARIANTS=: expected partial_reason or"),
        ("ablations/table5_mixtures.sh", {"MIXTURES": "mine no-such"}, None, "MIXTURES=no-such: expected xlam-only or"),
    ],
)
@pytest.mark.parametrize("switch", [{}, {"DRY_RUN": 1}, {"CHECK": 1}], ids=str)
def test_a_sweep_refuses_what_would_make_its_runs_the_same(
    script, variables, argument, expected, switch, data, tmp_path
):
    path = replace_program(tmp_path, "#!/bin/sh\necho run\n")
    done = run_script(script, *filter(None, [argument]), PATH=path, **switch, **variables, **data)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "") and expected in line


def test_a_sweep_takes_other_folders_of_data(data, tmp_path):
    (run,) = launched(tmp_path, "ablations/table5_mixtures.sh", MIXTURES="mine", **data)
    assert option(run, "--train-file") == f"{data['DATA_DIR']}/mine/train.parquet"
    (tmp_path / "data" / "full" / "test.parquet").unlink()
    done = run_script("ablations/table5_mixtures.sh", PATH=replace_program(tmp_path, "#!/bin/sh\necho run\n"), **data)
    # What the last run lacks is told before the first run.
    assert (done.returncode, done.stdout) == (2, "") and "full/test.parquet: no such file" in done.stderr


@pytest.mark.parametrize(
    "script, variables, expected",
    [
        ("run_qwen7b_grpo.sh", {"PAPER": "yes", "DRY_RUN": 1}, "PAPER=yes: expected 1 or 0"),
        ("run_qwen7b_grpo.sh", {"ENGINE": "tgi", "DRY_RUN": 1}, "ENGINE=tgi: expected vllm or sglang"),
        ("run_qwen7b_grpo.sh", {"VERIFY": "1", "DRY_RUN": 1}, "VERIFY=1: expected full"),
        ("run_qwen7b_grpo.sh", {"PATH": "/usr/bin:/bin"}, "tooln1 is not on PATH"),
        ("prepare_data.sh", {}, "expected one argument"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(script, variables, expected):
    done = run_script(script, **variables)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and expected in line


# Saves on SIGTERM, which takes a moment.
SLOW_TO_STOP = f"""#!{sys.executable}
import signal, sys, time
def stop(*_):
    time.sleep(0.3)
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, signal.default_int_handler)
print("running", flush=True)
time.sleep(60)
"""


def interrupt(number, script, *arguments, **variables):
    """Start a script in a new process group, as a terminal does, and send a signal once it prints "running"."""
    process = subprocess.Popen(
        ["bash", str(EXAMPLES / script), *arguments],
        **dict(env=environment(**variables), cwd=ROOT, text=True, start_new_session=True),
        **dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE),
        # Commands in the background of a shell ignore Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "running\n"
    if number == signal.SIGINT:  # a terminal sends Ctrl-C to the whole group
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, error = process.communicate(timeout=30)
    return output, error, process.returncode


@pytest.mark.parametrize("script", ["ablations/table5_mixtures.sh", "ablations/table3_sft_then_rl.sh"])
def test_sigterm_reaches_the_run_and_no_other_run_starts(script, tmp_path, data):
    path = replace_program(tmp_path, SLOW_TO_STOP)
    output, _, code = interrupt(signal.SIGTERM, script, PATH=path, RUN_DIR=tmp_path / "run", **data)
    assert (output, code) == ("saved\n", 75)


def test_ctrl_c_ends_the_run_and_the_script(tmp_path, files):
    path = replace_program(tmp_path, SLOW_TO_STOP)
    output, error, code = interrupt(signal.SIGINT, "run_qwen_scaling.sh", PATH=path, RUN_DIR=tmp_path / "run", **files)
    assert output == "" and "KeyboardInterrupt" in error and code != 0


def test_slurms_signal_reaches_the_run_and_its_exit_code_is_the_jobs(tmp_path):
    """Slurm's and Ray's commands are replaced: this tests what the job script does with the script that it runs."""
    path = replace_program(tmp_path, SLOW_TO_STOP)
    srun = "[ $1 = bash ] && exec sleep 60; echo 10.0.0.1"
    for name, body in {"scontrol": "echo node1", "srun": srun, "ray": "echo '\"node_id\"'"}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "run.sh").write_text("exec tooln1\n")
    job = ("slurm/ray_cluster.sbatch", str(tmp_path / "run.sh"))
    output, _, code = interrupt(signal.SIGTERM, *job, PATH=path, SLURM_JOB_NODELIST="node1")
    assert (output, code) == ("saved\n", 75)
