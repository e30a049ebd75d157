"""The walk-throughs of README.md and docs/, as they are written, where the quickstart has been run before.

A page's command lines run in one shell, in a folder that looks like a checkout. Names of the Hugging Face hub are
folders there, which the libraries prefer. NOT_RUN in tests/support/walkthroughs.py says what is left out, and why.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time

import pytest
from example_scripts import environment
from published_models import MODELS
from walkthroughs import PAGES, ROOT, blocks, is_run, lines

from tooln1.files import read_jsonl
from tooln1.run_folder import RunFolder, tracked_step

pytestmark = [pytest.mark.slow, pytest.mark.cpu_engine]

SMALL = [
    *("trainer.total_training_steps=3", "trainer.save_freq=3", "trainer.test_freq=-1", "data.train_batch_size=8"),
    "data.val_max_samples=14",
]
WALKTHROUGHS = [page for page in PAGES if any(map(is_run, lines(page)))]


def conversation(number):
    """A single turn in ToolACE's layout, which the sample lacks."""
    tools = [{"name": "Get Weather", "description": "", "parameters": {"type": "dict", "properties": {"city": {}}}}]
    turns = [("user", f"Weather in City {number}?"), ("assistant", f'[Get Weather(city="City {number}")]')]
    return {
        "system": f"Be brief.\n{json.dumps(tools)}",
        "conversations": [{"from": role, "value": value} for role, value in turns],
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, tiny_model):
    """A folder like a checkout, with what the pages take for granted: data sets, a 7B model's sizes, a user's files."""
    samples = ROOT.parent / "shared" / "data"
    if not samples.is_dir():
        pytest.skip(f"{samples} is absent")
    folder = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.name not in (".git", "data", "examples", "models", "runs") and path.suffix != ".egg-info":
            (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "examples" / "setup_cpu.sh").write_text("# The environment of the tests.\n")
    toolace = [*json.loads((samples / "toolace_sample.json").read_text()), *map(conversation, range(40))]
    for name, rows in (
        ("Team-ACE/ToolACE", toolace),
        ("Salesforce/xlam-function-calling-60k", json.loads((samples / "xlam_sample.json").read_text())),
    ):
        (folder / name).mkdir(parents=True)
        (folder / name / "train.json").write_text(json.dumps(rows))
    (folder / "more").mkdir()
    shutil.copy(ROOT.parent / "shared" / "cases" / "openai_messages.jsonl", folder / "chats.jsonl")
    shutil.copy(ROOT.parent / "shared" / "cases" / "hermes_json_parallel.json", folder / "more")
    for name in ("Qwen/Qwen2.5-7B-Instruct", "models/Qwen2.5-7B-Instruct"):
        shutil.copytree(tiny_model, folder / name)
        (folder / name / "config.json").write_text(json.dumps(MODELS["Qwen/Qwen2.5-7B-Instruct"][0]))
    run(folder, [f"WARM_START_ROWS=100 bash examples/run_tiny_cpu_grpo.sh {shlex.join(SMALL)}"])
    (folder / "MODEL").symlink_to("runs/tiny/merged")
    for seed in range(3):
        (folder / "runs" / f"seed{seed}").symlink_to("tiny")
    dumps = sorted((folder / "runs" / "tiny" / "rollouts").iterdir())
    (folder / "responses.jsonl").write_text("".join(dump.read_text() for dump in dumps))
    return folder


def run(folder, commands):
    """Run command lines in one shell; one that fails ends it. Returns what they print."""
    script = "\n".join(["set -euo pipefail", *commands])
    env = environment(PATH=f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=folder)
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("page", WALKTHROUGHS, ids=lambda page: page.name)
def test_a_walk_through_does_what_it_says(page, checkout):
    for code in blocks(page, "python"):
        first, _, text = code.partition("\n")
        if first.startswith("# ") and first.endswith(".py"):  # a file that the page has its reader write
            (checkout / first.removeprefix("# ")).write_text(text)
    before, started = (checkout / "runs" / "tiny" / "run.json").read_text(), time.time()
    # Without GPUs, the doctor finds faults: exit code 2.
    chosen = [line for line in lines(page) if is_run(line)]
    run(
        checkout,
        [f"{{ {line}\n}} || (($? == 2))" if "doctor" in line or "CHECK=1" in line else line for line in chosen],
    )
    words = shlex.split("\n".join(chosen), comments=True)
    for option, value in zip(words, words[1:], strict=False):
        if option in ("--output", "-o", "--figures"):
            assert (checkout / value).stat().st_mtime >= started, value
    for runs in (word.partition("=")[2] for word in words if word.startswith("RUN_DIR=")):
        assert (checkout / runs / "summary.json").stat().st_mtime >= started
    assert (checkout / "runs" / "tiny" / "run.json").read_text() == before


def test_the_reward_of_the_walk_through_has_trained(checkout):
    """The page's own test runs first: adding_a_reward.md leaves runs/my_reward."""
    (code,) = [
        code for code in blocks(ROOT / "docs" / "adding_a_reward.md", "python") if code.startswith("# my_reward.py")
    ]
    reward = {}
    exec(code, reward)
    folder = RunFolder(checkout / "runs" / "my_reward")
    assert tracked_step(folder.checkpoints) == 5
    for step in range(1, 6):
        rows = [line.value for line in read_jsonl(folder.rollouts / f"{step}.jsonl")]
        assert len(rows) == 80
        for row in rows:
            assert row["score"] == pytest.approx(
                reward["compute_score"]("", row["output"], row["gts"], bonus=0.1)["score"]
            )


def test_a_changed_reward_in_that_folder_is_refused_or_marked(checkout):
    (checkout / "my_reward.py").write_text((checkout / "my_reward.py").read_text().replace("bonus,", "2 * bonus,"))
    (line,) = [line for line in lines(ROOT / "docs" / "adding_a_reward.md") if "run_tiny_cpu_grpo.sh" in line]
    run(checkout, [f"{{ {line}\n}} 2>refusal || (($? == 2))"])
    assert f"content of {checkout / 'my_reward.py'}" in (checkout / "refusal").read_text()
    run(checkout, [f"ACCEPT_CHANGES=1 {line.replace('total_training_steps=5', 'total_training_steps=6')}"])
    (change,) = RunFolder(checkout / "runs" / "my_reward").read_record()["changes"]
    assert (change["step"], change["key"]) == (5, f"content of {checkout / 'my_reward.py'}")
    report = (checkout / "runs" / "my_reward" / "report.html").read_text()
    assert "Changed after step 5" in report and "my_reward.py" in report
