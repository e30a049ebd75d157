"""How long `tooln1 report` takes on a large run, how much memory, how large its page is, and how fast the page opens.

    python benchmarks/report.py [--folder DIR] [--steps 200] [--prompts 1024]

Writes a run of 200 steps × 1,024 prompts × 5 rollouts as verl dumps it, 6 GB, into DIR (default: runs/report-benchmark;
the same arguments give the same bytes), makes its page, opens the page in headless Chromium, and removes everything.
The responses are those of the quickstart's world, more and more often right; the prompts are as long as the paper's.
"""

import argparse
import json
import math
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tqdm import tqdm

from tooln1.errors import UserError, run_command
from tooln1.files import format_table
from tooln1.prompt import build_messages, format_calls, load_template
from tooln1.run_folder import REWARD, STEP_SECONDS, RunFolder
from tooln1.tiny.rows import careful_response, draw_kind, hasty_response
from tooln1.tiny.world import World

ROLLOUTS = 5
METRICS = 80  # verl logs as many
# Tool lists of the paper's data are this long; those of the tiny world are a tenth of it.
PROMPT_TOOLS = 24
OPENED = 5
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def make_prompts(count: int) -> list[dict[str, str]]:
    """Return the JSON texts of prompts, each with a right response, two wrong ones and the ground truth."""
    world, rng, template = World(0), random.Random("prompts"), load_template()
    tools = [tool for _ in range(40) for tool in world.task(draw_kind(rng), "train", rng).tools]
    prompts = []
    for _ in range(count):
        task = world.task(draw_kind(rng), "train", rng)
        messages = build_messages([*task.tools, *rng.sample(tools, PROMPT_TOOLS)], task.turns, template=template)
        texts = {
            "input": "".join(f"{message['role']}\n{message['content']}\n" for message in messages) + "assistant\n",
            "right": careful_response(task),
            "wrong": hasty_response(task),
            "cut": careful_response(task)[:-20],
            "gts": format_calls(task.calls),
        }
        prompts.append({name: json.dumps(text, ensure_ascii=False) for name, text in texts.items()})
    return prompts


def write_run(folder: RunFolder, steps: int, prompts: int) -> None:
    """Write the dumps and the metrics of a run."""
    folder.rollouts.mkdir(parents=True)
    pool = make_prompts(4 * prompts)
    with folder.metrics.open("w") as metrics:
        for step in tqdm(range(1, steps + 1), desc="writing the run", unit=" steps", disable=None):
            rng = random.Random(step)
            skill = 0.2 + 0.7 * (1 - math.exp(-3 * step / steps))
            rows = [row for prompt in rng.sample(pool, prompts) for row in _make_group(prompt, step, skill, rng)]
            (folder.rollouts / f"{step}.jsonl").write_text("".join(row for row, _ in rows), encoding="utf-8")
            data = {f"actor/metric_{number}": rng.random() for number in range(METRICS)}
            data |= {REWARD: statistics.fmean(score for _, score in rows), STEP_SECONDS: 100 + rng.random()}
            metrics.write(json.dumps({"step": step, "data": data}) + "\n")


def _make_group(prompt: dict[str, str], step: int, skill: float, rng: random.Random) -> list[tuple[str, float]]:
    """Return (line of the dump, score) for the rollouts of one prompt."""
    uid, chance, rows = f"{rng.getrandbits(128):032x}", min(1.0, max(0.0, rng.gauss(skill, 0.25))), []
    for rollout in range(ROLLOUTS):
        name = "right" if rng.random() < chance else "wrong" if rng.random() < 0.9 else "cut"
        # A hasty response is right if a single string is the argument.
        score = float(name == "right" or prompt["gts"][1:-1] in prompt[name])
        row = (
            f'{{"input": {prompt["input"]}, "output": {prompt[name]}, "gts": {prompt["gts"]}, '
            f'"score": {score}, "step": {step}, "uid": "{uid}_{rollout}_0"}}\n'
        )
        rows.append((row, score))
    return rows


def open_page(page: Path) -> dict[str, str]:
    """Return the median seconds until the page is visible, and until its charts are drawn and its rollouts listed."""
    from playwright.sync_api import sync_playwright

    visible, ready = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for _ in range(OPENED):
            tab = browser.new_page(viewport={"width": 1440, "height": 900})
            started = time.monotonic()
            tab.goto(page.as_uri())
            visible.append(time.monotonic() - started)
            tab.wait_for_selector("html[data-ready]", timeout=120_000)
            ready.append(time.monotonic() - started)
            tab.close()
        browser.close()
    return {
        "until the page is visible": f"{statistics.median(visible):.1f} s",
        "until it is ready": f"{statistics.median(ready):.1f} s",
    }


def measure(folder: RunFolder, steps: int, prompts: int) -> None:
    """Write a run, make and open its page, print the figures, and remove everything."""
    if folder.path.exists():
        raise UserError(f"{folder.path}: exists already; give another --folder")
    try:
        write_run(folder, steps, prompts)
        size = sum(path.stat().st_size for path in folder.rollouts.iterdir())
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "tooln1.cli", "report", str(folder.path)], check=True)
        figures = {
            f"dumps of {steps} × {prompts * ROLLOUTS:,} rollouts": f"{size / 1e9:.1f} GB",
            "time to make the page": f"{time.monotonic() - started:.0f} s",
            "peak memory": f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9:.2f} GB",
            "page": f"{folder.report.stat().st_size / 1e6:.1f} MB",
        }
        if CHROMIUM:
            figures |= open_page(folder.report)
        print(format_table(["", "measured"], list(figures.items())))
    finally:
        shutil.rmtree(folder.path, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/report-benchmark"), help="where the run is written")
    parser.add_argument("--steps", type=int, default=200, help="steps of the run (default: %(default)s)")
    parser.add_argument("--prompts", type=int, default=1024, help="prompts of a step (default: %(default)s)")
    arguments = parser.parse_args()
    run_command(lambda: measure(RunFolder(arguments.folder), arguments.steps, arguments.prompts))


if __name__ == "__main__":
    main()
