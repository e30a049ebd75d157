"""How long `tooln1 report` takes on a large run, how much memory, how large its page is, and how fast it opens.

    python benchmarks/report.py [--folder DIR] [--steps 200] [--prompts 1024] [--keep]

Writes a run of 200 steps × 1,024 prompts × 5 rollouts as verl dumps it, about 5 GB, into DIR (runs/report-benchmark by
default; the same bytes for the same arguments), makes its page, opens that in headless Chromium, and removes
everything. The replies are those of the quickstart's world, right ones more and more often, under prompts as long as
those of the paper's data.
"""

import argparse
import json
import math
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tqdm import tqdm

from tooln1.errors import UserError
from tooln1.prompt import build_messages, format_calls, load_template
from tooln1.tiny.rows import careful_response, draw_kind, hasty_response
from tooln1.tiny.world import World

ROLLOUTS = 5
# Tool lists of the paper's data are this long; the tiny world's are a tenth of it.
PROMPT_TOOLS = 24
OPENED = 5
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def make_prompts(count: int, seed: int) -> list[dict[str, str]]:
    """The JSON texts of ``count`` prompts, with a right reply, a wrong one and the reference."""
    world, rng = World(seed), random.Random(f"prompts {seed}")
    template = load_template()
    tools = [tool for _ in range(40) for tool in world.task(draw_kind(rng), "train", rng).tools]
    prompts = []
    for _ in range(count):
        task = world.task(draw_kind(rng), "train", rng)
        messages = build_messages([*task.tools, *rng.sample(tools, PROMPT_TOOLS)], task.turns, template=template)
        text = "".join(f"{message['role']}\n{message['content']}\n" for message in messages) + "assistant\n"
        prompts.append(
            {
                "input": json.dumps(text, ensure_ascii=False),
                "right": json.dumps(careful_response(task), ensure_ascii=False),
                "wrong": json.dumps(hasty_response(task), ensure_ascii=False),
                "cut": json.dumps(careful_response(task)[:-20], ensure_ascii=False),
                "gts": json.dumps(format_calls(task.calls), ensure_ascii=False),
            }
        )
    return prompts


def write_run(folder: Path, steps: int, prompts: int, seed: int) -> int:
    """Write dumps and metrics of a run, and return the bytes of the dumps."""
    rollouts = folder / "rollouts"
    rollouts.mkdir(parents=True)
    pool = make_prompts(4 * prompts, seed)
    size = 0
    with (folder / "metrics.jsonl").open("w") as metrics:
        for step in tqdm(range(1, steps + 1), desc="writing the run", unit=" steps", disable=None):
            rng = random.Random(f"{seed} {step}")
            skill = 0.2 + 0.7 * (1 - math.exp(-3 * step / steps))
            path = rollouts / f"{step}.jsonl"
            scores = _write_step(path, step, rng.sample(pool, prompts), skill, rng)
            size += path.stat().st_size
            data = {"critic/score/mean": statistics.fmean(scores), "timing_s/step": 100 + rng.random()}
            metrics.write(json.dumps({"step": step, "data": data | _further_metrics(rng)}) + "\n")
    return size


def _write_step(path: Path, step: int, prompts: list[dict[str, str]], skill: float, rng: random.Random) -> list[float]:
    scores = []
    with path.open("w", encoding="utf-8") as dump:
        for prompt in prompts:
            uid = f"{rng.getrandbits(128):032x}"
            chance = min(1.0, max(0.0, rng.gauss(skill, 0.25)))
            for rollout in range(ROLLOUTS):
                reply = "right" if rng.random() < chance else "wrong" if rng.random() < 0.9 else "cut"
                # A hasty reply is right where a single string is asked for.
                score = float(reply == "right" or prompt[reply].find(prompt["gts"][1:-1]) >= 0)
                dump.write(
                    f'{{"input": {prompt["input"]}, "output": {prompt[reply]}, "gts": {prompt["gts"]}, '
                    f'"score": {score}, "step": {step}, "uid": "{uid}_{rollout}_0"}}\n'
                )
                scores.append(score)
    return scores


def _further_metrics(rng: random.Random) -> dict[str, float]:
    """As many metrics as verl logs."""
    return {f"actor/metric_{number}": rng.random() for number in range(80)}


def make_page(folder: Path) -> dict[str, float]:
    """Seconds, peak memory in 10**9 bytes of all processes together, and megabytes of the page."""
    page = folder / "report.html"
    started = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "tooln1.cli", "report", str(folder), "--output", str(page)])
    peak = 0
    while child.poll() is None:
        peak = max(peak, _memory(child.pid))
        time.sleep(0.1)
    if child.returncode:
        raise UserError(f"tooln1 report ended with exit code {child.returncode}")
    seconds = time.monotonic() - started
    # The children's own largest size is a lower bound that polling cannot miss.
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"seconds": seconds, "memory_gb": max(peak, largest) / 1e9, "page_mb": page.stat().st_size / 1e6}


def _memory(pid: int) -> int:
    """The proportional set size of a process and its descendants: shared memory counts once."""
    import psutil

    try:
        root = psutil.Process(pid)
        return sum(process.memory_full_info().pss for process in [root, *root.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def open_page(page: Path) -> dict[str, float]:
    """Median seconds until the page stands, and until its charts are drawn and its rollouts listed."""
    from playwright.sync_api import sync_playwright

    stands, ready = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for _ in range(OPENED):
            tab = browser.new_page(viewport={"width": 1440, "height": 900})
            started = time.monotonic()
            tab.goto(page.as_uri())
            stands.append(time.monotonic() - started)
            tab.wait_for_selector("html[data-ready]", timeout=120_000)
            ready.append(time.monotonic() - started)
            tab.close()
        browser.close()
    return {"opens_s": statistics.median(stands), "ready_s": statistics.median(ready)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/report-benchmark"), help="where the run is written")
    parser.add_argument("--steps", type=int, default=200, help="steps of the run (default: %(default)s)")
    parser.add_argument("--prompts", type=int, default=1024, help="prompts of a step (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides the run (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the run, and use it if it is there")
    arguments = parser.parse_args()
    folder = arguments.folder
    try:
        if not folder.exists():
            partial = folder.with_name(folder.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            write_run(partial, arguments.steps, arguments.prompts, arguments.seed)
            os.replace(partial, folder)
        size = sum(path.stat().st_size for path in (folder / "rollouts").iterdir())
        print(f"{arguments.steps} steps × {arguments.prompts * ROLLOUTS:,} rollouts, {size / 1e9:.2f} GB")
        figures = make_page(folder)
        if CHROMIUM:
            figures |= open_page(folder.resolve() / "report.html")
        for name, value in figures.items():
            print(f"{name:<10} {value:.2f}")
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
