"""How fast data preparation is and how much memory it takes, beside the floor: reading the JSON and writing parquet.

What has been prepared is then mixed (mix.py, all rows, an eighth of them masked and an eighth made irrelevant), beside
reading the parquet and writing it.

    python benchmarks/data_prep.py                          60,000 xLAM-shaped and 11,300 ToolACE-shaped rows, 2 minutes
    python benchmarks/data_prep.py --xlam 60000 1000000     how both grow with the number of rows (2 GB of disk)
    python benchmarks/data_prep.py --workers 1

The inputs are made up, in the shape and size of the published files: 1.75 kB an xLAM row, 4.6 kB a ToolACE row. No two
rows share a tool list. Memory is the most that all processes of a script had resident at one moment, looked at every
20 ms; pages that they share count for each. Times are of the whole command, from starting Python on.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tooln1.calls import write_calls
from tooln1.files import format_table

ROOT = Path(__file__).resolve().parent.parent
LIMITS = {("xlam", 60_000): (7.0, 0.6), ("toolace", 11_300): (5.0, None)}

# The floor holds all rows in memory at once: eight gigabytes for a million.
FLOOR_ROWS = 200_000

FLOOR = """
import json, sys
import pyarrow as pa
import pyarrow.parquet as pq
with open(sys.argv[1]) as file:
    rows = json.load(file)
pq.write_table(pa.Table.from_pylist(rows), sys.argv[2])
"""

MIX_FLOOR = """
import sys
import pyarrow.parquet as pq
pq.write_table(pq.read_table(sys.argv[1]), sys.argv[2], compression="zstd")
"""

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


@dataclass
class Measured:
    """What one command took: wall-clock seconds, seconds of CPU of all its processes, and megabytes at the most."""

    seconds: float
    cpu: float
    megabytes: float


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
        names = tool["parameters"].get("properties", tool["parameters"])
        values = (words(rng, 2), rng.randint(0, 10_000), rng.random() < 0.5)
        calls.append({"name": tool["name"], "arguments": {name: rng.choice(values) for name in names}})
    return calls


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


def write_input(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write rows as one JSON array."""
    with open(path, "w") as file:
        for number, row in enumerate(rows):
            file.write(("[" if number == 0 else ",\n") + json.dumps(row))
        file.write("]\n")


def measure(command: list[str]) -> Measured:
    """Run a command to its end.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    start, before = time.perf_counter(), os.times()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    highest = 0
    while process.poll() is None:
        highest = max(highest, resident(process.pid))
        time.sleep(0.02)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(time.perf_counter() - start, cpu, highest / 1e6)


def resident(pid: int) -> int:
    """Return the bytes that a process and its children have in memory."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def benchmark(source: str, rows: int, workers: int, folder: Path) -> list[list[Any]]:
    """Return the lines of the table for one input: preparing it, mixing what came of that, and the floors."""
    data, prepared = folder / f"{source}.json", folder / source
    write_input(data, (xlam_rows if source == "xlam" else toolace_rows)(rows))
    commands = {
        f"{source}.py": [str(ROOT / "data_prep" / f"{source}.py"), "--input", str(data), "--output", str(prepared)],
        "floor": ["-c", FLOOR, str(data), str(folder / "floor.parquet")],
        "mix.py": [str(ROOT / "data_prep" / "mix.py"), "--input", str(prepared), "--output", str(folder / "mix")],
        "floor of mix.py": ["-c", MIX_FLOOR, str(prepared / "train.parquet"), str(folder / "floor.parquet")],
    }
    commands["mix.py"] += ["--mask", "0.125", "--irrelevance", "0.125"]
    lines = []
    for name, command in commands.items():
        if name.startswith("floor") and rows > FLOOR_ROWS:
            continue
        if name.endswith(".py"):
            command += ["--workers", str(workers)]
        lines.append(line(name, rows, data, measure([sys.executable, *command]), LIMITS.get((name[:-3], rows), ())))
    data.unlink()
    return lines


def line(name: str, rows: int, data: Path, found: Measured, limits: Sequence[float | None]) -> list[Any]:
    """Return a line of the table."""
    allowed = ", ".join(f"{value:g} {unit}" for value, unit in zip(limits, ("s", "GB"), strict=False) if value)
    size, per_second = f"{data.stat().st_size / 1e6:,.0f} MB", f"{rows / found.seconds:,.0f}"
    seconds, cpu, memory = f"{found.seconds:.2f}", f"{found.cpu:.2f}", f"{found.megabytes:,.0f} MB"
    return [f"{name}, {rows:,} rows", size, seconds, cpu, per_second, memory, allowed]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--xlam", type=int, nargs="*", default=[60_000], metavar="ROWS")
    parser.add_argument("--toolace", type=int, nargs="*", default=[11_300], metavar="ROWS")
    parser.add_argument("--workers", type=int, default=2, help="processes of the scripts (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where inputs and outputs lie meanwhile (default: a temporary one)")
    arguments = parser.parse_args()
    lines: list[list[Any]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for source in ("xlam", "toolace"):
            for rows in getattr(arguments, source):
                lines += benchmark(source, rows, arguments.workers, Path(folder))
    header = ("command", "input", "seconds", "of CPU", "rows/s", "peak memory", "allowed")
    print(format_table(header, lines))


if __name__ == "__main__":
    main()
