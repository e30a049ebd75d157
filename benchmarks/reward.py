"""How long the reward takes: replies of usual sizes, degenerate replies up to a megabyte, and json.loads beside them.

    python benchmarks/reward.py                 prints the tables (three minutes on one core)
    python benchmarks/reward.py --write         and puts them, with the plot, into docs/reward.md

Times are of this process's CPU and the least of several runs, so that other work on the machine hardly shows.
"""

import argparse
import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tooln1.reward_score.toolcall import compute_score

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "reward_score"))

from gaming_table import PAGE, with_section  # noqa: E402
from toolcall_cases import FRAMES, ONE, UNITS  # noqa: E402

PLOT = PAGE.with_name("reward_speed.svg")
BEGIN, END = "<!-- speed: written by benchmarks/reward.py -->\n", "<!-- speed: end -->\n"
SIZES = (1_000, 10_000, 90_000, 1_000_000)
LIMIT_SIZE, LIMIT_MS = 90_000, 2.0
# Lists within what the decoder's recursion takes, time and again: the most brackets that are still valid JSON.
DEEP_UNIT = "[" * 900 + "]" * 900 + ","
CALLS = [
    {"name": "get_weather", "arguments": {"city": "Paris", "days": 3, "unit": "celsius"}},
    {"name": "search_flights", "arguments": {"from": "CDG", "to": "JFK", "date": "2025-06-01", "passengers": 2}},
]


def least(*functions: Callable[[], Any], seconds: float = 0.02, runs: int = 7) -> list[float]:
    """The least CPU time of one call of each function, in seconds, over `runs` rounds in which they take turns."""
    counts = []
    for function in functions:
        start = time.process_time()
        function()
        counts.append(max(1, round(seconds / max(time.process_time() - start, 1e-6))))
    best = [math.inf] * len(functions)
    for _ in range(runs):
        for place, (function, count) in enumerate(zip(functions, counts, strict=True)):
            start = time.process_time()
            for _ in range(count):
                function()
            best[place] = min(best[place], (time.process_time() - start) / count)
    return best


def usual_rows() -> list[list[str]]:
    """Microseconds for 1, 2 and 8 calls after 100 to 8,000 tokens of reasoning (four characters each)."""
    heads = "calls, reasoning tokens, json.loads µs, strict µs, strict / json.loads, strict (wrong value) µs, paper µs"
    rows = [heads.split(", ")]
    for count in (1, 2, 8):
        reference = json.dumps((CALLS * 4)[:count])
        for tokens in (100, 1000, 8000):
            think = f"<think>{'The user asks for the weather. ' * (tokens * 4 // 31)}</think>\n<tool_call>\n"
            reply = f"{think}{reference}\n</tool_call>"
            wrong = reply.replace('"days": 3', '"days": 4')
            floor, strict, other, paper = least(
                lambda text=reference: json.loads(text),
                lambda text=reply, truth=reference: compute_score("toolcall/x", text, truth),
                lambda text=wrong, truth=reference: compute_score("toolcall/x", text, truth),
                lambda text=reply, truth=reference: compute_score("toolcall/x", text, truth, profile="paper"),
            )
            micro = [f"{seconds * 1e6:.1f}" for seconds in (floor, strict, other, paper)]
            rows.append([f"{count}", f"{tokens}", *micro[:2], f"{strict / floor:.2f}", *micro[2:]])
    return rows


def degenerate_times(slowest: int = 24) -> dict[str, dict[str, list[float]]]:
    """For each degenerate reply, milliseconds at each of SIZES: strict, paper, and as floor json.loads of its calls.

    The `slowest` are measured twice more, minutes later, since a busy spell of the machine may have made them slow.
    """
    replies = {_label(frame, unit): (frame, unit) for frame in FRAMES for unit in [*UNITS, DEEP_UNIT]}
    times = {label: measure(*replies[label]) for label in tqdm(replies, desc="degenerate replies", disable=None)}
    place = SIZES.index(LIMIT_SIZE)
    for label in sorted(times, key=lambda label: -times[label]["strict"][place])[:slowest] * 2:
        again = measure(*replies[label])
        times[label] = {name: list(map(min, values, again[name])) for name, values in times[label].items()}
    return times


def measure(frame: str, unit: str) -> dict[str, list[float]]:
    """Milliseconds for `unit`, repeated, in `frame`, at each of SIZES."""
    times: dict[str, list[float]] = {"strict": [], "paper": [], "floor": []}
    for size in SIZES:
        reply = frame % (unit * max(1, size // len(unit)))
        calls = reply.partition("<tool_call>")[2].rpartition("</tool_call>")[0]
        measured = least(
            lambda text=reply: compute_score("d", text, ONE),
            lambda text=reply: compute_score("d", text, ONE, profile="paper"),
            lambda text=calls: _loads(text),
            seconds=0.002,
        )
        for name, seconds in zip(times, measured, strict=True):
            times[name].append(seconds * 1e3)
    return times


def _loads(text: str) -> None:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        pass


def _label(frame: str, unit: str) -> str:
    unit = "[… 900 deep …]," if unit == DEEP_UNIT else unit.encode("unicode_escape").decode()
    return frame.replace("<think>one call will do</think>", "<think>…</think>") % f"«{unit}»"


def degenerate_rows(times: dict[str, dict[str, list[float]]], most: int = 12) -> list[list[str]]:
    """The slowest in the strict profile at LIMIT_SIZE, milliseconds at each size, and what else matters there."""
    place = SIZES.index(LIMIT_SIZE)
    heads = [f"{size // 1000} KB ms" for size in SIZES]
    rows = [["degenerate reply («repeated»)", *heads, "json.loads at 90 KB ms", "paper at 90 KB ms"]]
    for label, one in sorted(times.items(), key=lambda item: -item[1]["strict"][place])[:most]:
        cells = [f"{ms:.3f}" for ms in [*one["strict"], one["floor"][place], one["paper"][place]]]
        rows.append([f"`{label}`".replace("|", "\\|"), *cells])
    return rows


def summary(times: dict[str, dict[str, list[float]]]) -> str:
    """How many keep to the limit, which do not, and how time grows from 90 KB to 1 MB."""
    place = SIZES.index(LIMIT_SIZE)
    over = [label for label, one in times.items() if one["strict"][place] >= LIMIT_MS]
    kept = f"{len(times) - len(over)} of {len(times)}"
    lines = [f"{kept} degenerate replies take less than {LIMIT_MS:g} ms at 90 KB in the strict profile.", ""]
    for label in over:
        strict, floor = times[label]["strict"][place], times[label]["floor"][place]
        lines.append(f"- `{label}` takes {strict:.2f} ms; json.loads of the same calls takes {floor:.2f} ms.")
    slow = [one for one in times.values() if one["strict"][place] > 0.1]
    most = max(slow, key=lambda one: one["strict"][-1] / one["strict"][place])
    growth, floor = (most[name][-1] / most[name][place] for name in ("strict", "floor"))
    lines += ["", "From 90 KB to 1 MB, 11 times the length, the time of those above 0.1 ms grows"]
    lines += [f"{growth:.0f} times at most, that of json.loads on the same calls {floor:.0f} times."]
    return "\n".join(lines)


def markdown(rows: list[list[str]]) -> str:
    """The rows, the first of them the heads, as a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def plot(times: dict[str, dict[str, list[float]]], path: Path, curves: int = 6) -> None:
    """Draw time against length, both logarithmic: the slowest replies, and json.loads of the slowest (dashed)."""
    # Only this drawing needs a plotting library: setup.py's [report].
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams.update(
        {"svg.hashsalt": "tooln1", "text.parse_math": False, "svg.fonttype": "none", "font.size": 8}
    )
    place = SIZES.index(LIMIT_SIZE)
    slowest = sorted(times.items(), key=lambda item: -item[1]["strict"][place])[:curves]
    figure, axes = pyplot.subplots(figsize=(8, 6), layout="constrained")
    for label, one in slowest:
        axes.loglog(SIZES, one["strict"], marker="o", markersize=3, label=label)
    axes.loglog(SIZES, slowest[0][1]["floor"], "--", color="0.4", label="json.loads of the first")
    axes.plot(LIMIT_SIZE, LIMIT_MS, "rx", label=f"{LIMIT_MS:g} ms at {LIMIT_SIZE // 1000} KB")
    axes.set_xticks(SIZES, [f"{size // 1000:,} KB" for size in SIZES], minor=False)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="length of the reply", ylabel="ms")
    axes.grid(color="0.9")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", frameon=False)
    # Without the date, the same times give the same bytes.
    figure.savefig(path, metadata={"Date": None})


def import_ms(runs: int = 7) -> float:
    """The least time, in milliseconds, that importing the module takes in a new interpreter."""
    code = "import time; t = time.perf_counter(); import tooln1.reward_score.toolcall; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    return min(float(subprocess.run(command, capture_output=True, text=True).stdout) for _ in range(runs)) * 1e3


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the tables and the plot into docs/")
    arguments = parser.parse_args()
    where = (
        f"CPython {platform.python_version()}, one core of {_processor()}; the module imports in {import_ms():.0f} ms."
    )
    usual = markdown(usual_rows())
    times = degenerate_times()
    report = "\n".join([where, "", usual, summary(times), "The slowest:", "", markdown(degenerate_rows(times))])
    print(report)
    if arguments.write:
        plot(times, PLOT)
        picture = f"![Time against length of the slowest degenerate replies]({PLOT.name})\n"
        page = with_section(PAGE.read_text(encoding="utf-8"), BEGIN, END, f"{report}\n{picture}")
        PAGE.write_text(page, encoding="utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
