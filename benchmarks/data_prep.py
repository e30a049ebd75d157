"""How fast data preparation is, and how much memory it takes.

    python benchmarks/data_prep.py                                  60,000 xLAM, 11,300 ToolACE, 100,000 OpenAI rows
    python benchmarks/data_prep.py --xlam 1000000 --toolace --messages    a million xLAM rows, 8 minutes, 6 GB of disk

The inputs are made up, with the shape and size of the published files: 1.75 kB an xLAM row, 4.6 kB a ToolACE row. No
two rows share a tool list. What is prepared is then mixed: all rows, an eighth masked, an eighth irrelevant.

Memory is the most that all processes of a script had resident at one moment, sampled every 20 ms; pages that they share
count for each. Times include the start of Python.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tooln1.arguments import not_negative, positive
from tooln1.files import format_table

ROOT = Path(__file__).resolve().parent.parent
# Seconds and gigabytes that a script may take.
LIMITS = {("xlam", 60_000): "8 s, 1 GB", ("toolace", 11_300): "5 s", ("messages", 100_000): "30 s"}
LIMITS[("xlam", 1_000_000)] = "200 s, 12 GB"
# From here on, rows are written as JSON Lines, which the scripts read line by line.
MANY_ROWS = 200_000

WORDS = (
    "the of for and price city date name user list search result weather stock video email order number filter market "
    "language country currency event team player score recipe image account status report code route flight hotel"
).split()
SYSTEM = """You are an expert in composing functions. You are given a question and a set of possible functions.
Based on the question, you will need to make one or more function/tool calls to achieve the purpose.
If none of the function can be used, point it out. If the given question lacks the parameters required by the function,
also point it out. You should only return the function call in tools call sections.
Here is a list of functions in JSON format that you can invoke:
{tools}.
Should you decide to return the function call(s).
Put it in the format of [func1(params_name=params_value, params_name2=params_value2...), func2(params)]

NO other text MUST be included."""


def words(rng: random.Random, count: int) -> str:
    """Return so many words."""
    return " ".join(rng.choices(WORDS, k=count))


def make_tool(rng: random.Random, toolace: bool) -> dict[str, Any]:
    """Return a tool with one to four parameters."""
    names = rng.sample(WORDS, rng.randint(1, 4))
    separator = " " if toolace else "_"
    tool = {"name": f"{rng.choice(WORDS)}{separator}{rng.choice(WORDS)}", "description": words(rng, 14)}
    kinds = ("string", "int", "bool") if toolace else ("str", "int, optional", "bool")
    parameters = {name: {"description": words(rng, 9), "type": rng.choice(kinds), "default": "x"} for name in names}
    if toolace:
        parameters = {"type": "dict", "properties": parameters, "required": names[:1]}
        tool["required"] = None
    return {**tool, "parameters": parameters}


def make_calls(rng: random.Random, tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one or two calls of these tools."""
    calls = []
    for tool in rng.sample(tools, min(len(tools), rng.randint(1, 2))):
        parameters = tool["parameters"].get("properties", tool["parameters"])
        values = {"s": words(rng, 2), "i": rng.randint(0, 10_000), "b": rng.random() < 0.5}
        arguments = {name: values[schema["type"][0]] for name, schema in parameters.items()}
        calls.append({"name": tool["name"], "arguments": arguments})
    return calls


def write_calls(calls: list[dict[str, Any]]) -> str:
    """Write calls as ToolACE does."""
    written = (", ".join(f"{key}={value!r}" for key, value in call["arguments"].items()) for call in calls)
    return "[" + ", ".join(f"{call['name']}({text})" for call, text in zip(calls, written, strict=True)) + "]"


def xlam_rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield rows like those of xlam-function-calling-60k."""
    rng = random.Random(0)
    for number in range(count):
        tools = [make_tool(rng, False) for _ in range(rng.randint(2, 4))]
        answers = make_calls(rng, tools)
        query = f"{words(rng, 24)} {number}?"
        yield {"id": number, "query": query, "answers": json.dumps(answers), "tools": json.dumps(tools)}


def toolace_rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield conversations like those of ToolACE: nine in ten are one request and its calls."""
    rng = random.Random(0)
    for number in range(count):
        tools = [make_tool(rng, True) for _ in range(rng.randint(2, 7))]
        turns = []
        for _ in range(1 if rng.random() < 0.9 else 4):
            calls = make_calls(rng, tools)
            turns += [("user", f"{words(rng, 30)} {number}?"), ("assistant", write_calls(calls))]
            results = [{"name": call["name"], "results": words(rng, 40)} for call in calls]
            turns += [("tool", json.dumps(results)), ("assistant", words(rng, 60))]
        yield {
            "system": SYSTEM.replace("{tools}", json.dumps(tools)),
            "conversations": [{"from": role, "value": value} for role, value in turns],
        }


def messages_rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield OpenAI conversations of three turns: each is a request, its calls, their results, and an answer."""
    rng = random.Random(0)
    for number in range(count):
        tools = [make_tool(rng, True) for _ in range(rng.randint(2, 4))]
        messages: list[dict[str, Any]] = [{"role": "system", "content": words(rng, 10)}]
        for turn in range(3):
            calls = make_calls(rng, tools)
            ids = [f"call_{turn}_{place}" for place in range(len(calls))]
            entries = [
                {"id": name, "type": "function", "function": {**call, "arguments": json.dumps(call["arguments"])}}
                for name, call in zip(ids, calls, strict=True)
            ]
            messages.append({"role": "user", "content": f"{words(rng, 20)} {number}?"})
            messages.append({"role": "assistant", "content": None, "tool_calls": entries})
            messages += [{"role": "tool", "tool_call_id": name, "content": words(rng, 15)} for name in ids]
            messages.append({"role": "assistant", "content": words(rng, 20)})
        yield {"messages": messages, "tools": [{"type": "function", "function": tool} for tool in tools]}


def measure(script: str, *arguments: str | Path) -> list[str]:
    """Run a script of data_prep/ and return its seconds, seconds of CPU, and peak memory, as text."""
    start, before = time.perf_counter(), os.times()
    command = [sys.executable, ROOT / "data_prep" / f"{script}.py", *arguments]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    highest = 0
    while process.poll() is None:
        highest = max(highest, resident(process.pid))
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{script}.py failed")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return [f"{time.perf_counter() - start:.1f}", f"{cpu:.1f}", f"{highest / 1e6:,.0f} MB"]


def resident(pid: int) -> int:
    """Return the bytes that a process and its children have in memory."""
    try:
        root = psutil.Process(pid)
        return sum(process.memory_info().rss for process in [root, *root.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


MAKERS = {"xlam": xlam_rows, "toolace": toolace_rows, "messages": messages_rows}


def benchmark(source: str, rows: int, workers: int, folder: Path) -> list[list[str]]:
    """Return the lines of the table for one input: preparing it, and mixing what came of it."""
    many = rows > MANY_ROWS
    data, prepared = folder / f"{source}.json{'l' * many}", folder / source
    with open(data, "w") as file:
        start, between, end = ("", "\n", "\n") if many else ("[", ",\n", "]\n")
        for number, row in enumerate(MAKERS[source](rows)):
            file.write((between if number else start) + json.dumps(row))
        file.write(end)
    size, common = f"{data.stat().st_size / 1e6:,.0f} MB", ("--workers", str(workers), "--output")
    found = measure(source, "--input", data, *common, prepared)
    data.unlink()
    changes = ("--mask", "0.125", "--irrelevance", "0.125")
    mixed = measure("mix", "--input", prepared, *changes, *common, folder / "mix")
    limit = LIMITS.get((source, rows), "")
    return [[f"{source}.py, {rows:,} rows", size, *found, limit], [f"mix.py, {source}, {rows:,} rows", "", *mixed, ""]]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for source, rows in (("xlam", 60_000), ("toolace", 11_300), ("messages", 100_000)):
        parser.add_argument(f"--{source}", type=not_negative, nargs="*", default=[rows], metavar="ROWS")
    parser.add_argument("--workers", type=positive, default=2, help="processes of the scripts (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="for inputs and outputs (default: a temporary one)")
    arguments = parser.parse_args()
    lines: list[list[str]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for source in MAKERS:
            for rows in getattr(arguments, source):
                lines += benchmark(source, rows, arguments.workers, Path(folder))
    print(format_table(("command", "input", "seconds", "of CPU", "peak memory", "limit"), lines))


if __name__ == "__main__":
    main()
