"""Measures how long the strict reward takes: usual responses, degenerate responses, and json.loads beside them.

    python benchmarks/reward.py                 prints the tables (two minutes on one core)
    python benchmarks/reward.py --write         also writes the tables and the plot into docs/

Times are CPU time, the least of several runs, so that other work on the machine hardly shows.
"""

import argparse
import json
import platform
import time
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tooln1.reward_score import toolcall, toolcall_paper

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reward.md"
PLOT = PAGE.with_name("reward_speed.svg")
BEGIN, END = "<!-- speed: written by benchmarks/reward.py -->\n", "<!-- speed: end -->\n"
CALLS = [
    {"name": "get_weather", "arguments": {"city": "Paris", "days": 3, "unit": "celsius"}},
    {"name": "search_flights", "arguments": {"from": "CDG", "to": "JFK", "date": "2025-06-01", "passengers": 2}},
]
GROUND_TRUTH = '[{"name": "f", "arguments": {"x": 1}}]'
# A degenerate response is a unit, repeated, in a frame. None of them makes the ground truth's call.
UNITS = '< [ ] { } 1 - " \\ \u00a0 \x00 \ud800 \udfff \U0001f525 a "", 1, 1.5, 0. 1e null, true, NaN, {}, [],'.split(
    " "
)
UNITS += '{"a":1}, {"a":1,"b":2}, "a":1, [{ {"a": {"name": \\" \\u0041 \\ud800'.split(" ")
UNITS += "<think> </think> <think></think> <tool_call> </tool_call> <tool_call></tool_call> </tool_call".split(" ")
UNITS += [" ", "\n", "<think>a</think><tool_call>[]</tool_call>", "<|im_start|>assistant", GROUND_TRUTH[1:-1] + ","]
_CALLED = "<think>…</think><tool_call>%s</tool_call>"
_CALL = _CALLED % '[{"name": "f", "arguments": {"x": %s}}]'
FRAMES = ["%s", "<think>…</think>%s", "<think>%s</think><tool_call>[]</tool_call>", _CALLED % "[]" + "%s"]
FRAMES += [_CALLED, _CALLED % "[%s]", _CALLED % "[%snull]"]
FRAMES += [_CALL, _CALL % '"%s"', _CALL % "[%snull]", _CALL % "[%s]", _CALL % '{%s"z":0}']
# The deepest lists that are still valid JSON, many times.
DEEP_UNIT = "[" * 900 + "]" * 900 + ","
SIZES = (1_000, 10_000, 90_000, 1_000_000)
PLACE = SIZES.index(90_000)
REWARDS = (toolcall, toolcall_paper)


def fastest(function: Callable[[], Any], seconds: float) -> float:
    """Return the least CPU time of one call in milliseconds, over seven rounds of about `seconds`."""
    timer = timeit.Timer(function, "import gc; gc.enable()", time.process_time)
    number = max(1, round(seconds / max(timer.timeit(1), 1e-6)))
    return min(timer.repeat(7, number)) / number * 1e3


def usual_rows() -> list[list[str]]:
    """Microseconds for 1, 2 and 8 calls after 100 to 8,000 tokens of reasoning (four characters each)."""
    rows = [
        "calls, reasoning tokens, json.loads µs, strict µs, wrong value µs, paper µs, strict / json.loads".split(", ")
    ]
    for count in (1, 2, 8):
        calls = json.dumps((CALLS * 4)[:count])
        for tokens in (100, 1000, 8000):
            reasoning = "The user asks for the weather. " * (tokens * 4 // 31)
            right = f"<think>{reasoning}</think>\n<tool_call>\n{calls}\n</tool_call>"
            wrong = right.replace('"days": 3', '"days": 4')
            functions = [partial(json.loads, calls)]
            functions += [partial(toolcall.compute_score, "", response, calls) for response in (right, wrong)]
            functions += [partial(toolcall_paper.compute_score, "", right, calls)]
            loads, *times = (fastest(function, seconds=0.02) * 1e3 for function in functions)
            rows.append(
                [f"{count}", f"{tokens}", *(f"{one:.1f}" for one in (loads, *times)), f"{times[0] / loads:.2f}"]
            )
    return rows


def degenerate_times(slowest: int = 24) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Measure the degenerate responses, the slowest twice more because a busy spell may have slowed them.

    Returns:
        Their labels, whether their calls are JSON, and milliseconds (response, of REWARDS and json.loads, of SIZES),
        the slowest at 90 KB first.
    """
    responses = [(frame, unit) for frame in FRAMES for unit in [*UNITS, DEEP_UNIT]]
    times = np.array([_measure(*one) for one in tqdm(responses, desc="degenerate responses", disable=None)])
    for place in list(np.argsort(-times[:, 0, PLACE])[:slowest]) * 2:
        times[place] = np.minimum(times[place], _measure(*responses[place]))
    order = np.argsort(-times[:, 0, PLACE])
    labels = [_label(*responses[place]) for place in order]
    is_json = np.array([_loads(_calls(_repeat(*responses[place], SIZES[PLACE]))) for place in order])
    return labels, is_json, times[order]


def _measure(frame: str, unit: str) -> list[list[float]]:
    columns = []
    for size in SIZES:
        response = _repeat(frame, unit, size)
        functions = [partial(reward.compute_score, "", response, GROUND_TRUTH) for reward in REWARDS]
        columns.append([fastest(one, 0.002) for one in [*functions, partial(_loads, _calls(response))]])
    return np.transpose(columns).tolist()


def _repeat(frame: str, unit: str, size: int) -> str:
    return frame % (unit * max(1, size // len(unit)))


def _calls(response: str) -> str:
    return response.partition("<tool_call>")[2].rpartition("</tool_call>")[0]


def _loads(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _label(frame: str, unit: str) -> str:
    return frame % ("«[… 900 deep …],»" if unit == DEEP_UNIT else f"«{unit.encode('unicode_escape').decode()}»")


def summary(is_json: np.ndarray, times: np.ndarray) -> str:
    """Return the claims: the cost if the calls are JSON, the cost if they are not, and the growth with the length."""
    strict, paper, loads = times[:, :, PLACE].T
    costly = is_json & (loads > 0.1)
    late = ~is_json & (strict >= 2)
    growth = times[:, :, -1] / times[:, :, PLACE]
    steepest = np.argmax(np.where(strict > 0.1, growth[:, 0], 0))
    return "\n".join(
        [
            f"{len(times)} degenerate responses of 90 KB:",
            "",
            f"- {sum(~is_json & ~late)} whose calls are not JSON take at most {strict[~is_json & ~late].max():.2f} ms.",
            f"- {sum(late)} more, whose arguments stop being JSON at their end, cost like JSON: at most "
            f"{strict[late].max(initial=0):.1f} ms.",
            f"- {sum(is_json)} whose calls are JSON take at most {strict[is_json].max():.1f} ms, and at most "
            f"{(strict / loads)[costly].max():.1f} times what json.loads takes for the calls (the paper reward: "
            f"{(paper / loads)[costly].max():.1f} times).",
            f"- From 90 KB to 1 MB, 11 times the length, the time grows at most {growth[steepest, 0]:.0f} times; "
            f"that of json.loads for the same calls grows {growth[steepest, 2]:.0f} times.",
        ]
    )


def degenerate_rows(labels: list[str], times: np.ndarray, most: int = 12) -> list[list[str]]:
    """Milliseconds of the slowest."""
    rows = [["degenerate response («repeated»)", *(f"{size // 1000} KB" for size in SIZES)]]
    rows[0] += ["json.loads at 90 KB", "paper at 90 KB"]
    for label, (strict, paper, loads) in zip(labels[:most], times, strict=False):
        cells = (f"{ms:.3f}" for ms in [*strict, loads[PLACE], paper[PLACE]])
        rows.append([f"`{label}`".replace("|", "\\|"), *cells])
    return rows


def markdown(rows: list[list[str]]) -> str:
    """Return the rows, the first of which holds the heads, as a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def plot(labels: list[str], times: np.ndarray, curves: int = 6) -> None:
    """Draw time against length, both logarithmic: the slowest responses, and json.loads of the slowest (dashed)."""
    import matplotlib  # of the extra "report"

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "tooln1", "text.parse_math": False, "svg.fonttype": "none"})
    figure, axes = pyplot.subplots(figsize=(8, 6), layout="constrained")
    for label, (strict, _, _) in zip(labels[:curves], times, strict=False):
        axes.loglog(SIZES, strict, marker="o", markersize=3, label=label)
    axes.loglog(SIZES, times[0, 2], "--", color="0.4", label="json.loads of the first")
    axes.set_xticks(SIZES, [f"{size // 1000:,} KB" for size in SIZES], minor=False)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="length of the response", ylabel="ms")
    axes.grid(color="0.9")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", frameon=False, fontsize=8)
    figure.savefig(PLOT, metadata={"Date": None})  # the same times give the same bytes


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the tables and the plot into docs/")
    write = parser.parse_args().write
    usual, (labels, is_json, times) = markdown(usual_rows()), degenerate_times()
    slowest = f"Milliseconds of the slowest:\n\n{markdown(degenerate_rows(labels, times))}"
    report = "\n\n".join([f"CPython {platform.python_version()}.", usual, summary(is_json, times), slowest])
    print(report)
    if write:
        plot(labels, times)
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        picture = f"![Time against length of the slowest degenerate responses]({PLOT.name})"
        PAGE.write_text(f"{before}{BEGIN}\n{report}\n\n{picture}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
