"""Write the synthetic tool world: train.parquet, test.parquet, sft.parquet and stats.json.

    python data_prep/synthetic.py --output runs/tiny/data --seed 0

train and test are rows for GRPO and share no (tool, value) pair. sft.parquet holds the demonstrations of the warm
start, made from training values only. tooln1/tiny/ describes the tools, the tasks and the teacher.
"""

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tooln1.arguments import Parser, positive
from tooln1.data.rows import MESSAGES, make_row, write_parquet, write_table
from tooln1.data.script import claimed
from tooln1.errors import run_command
from tooln1.files import atomic_path, format_table, write_json
from tooln1.tiny.rows import demonstrations, draw_kind, load_compact_template, prompt_messages
from tooln1.tiny.world import KINDS, World

EXTRA_FIELDS = {"kind": pa.string()}
SFT_SCHEMA = pa.schema({"messages": MESSAGES})


def make_rows(world: World, split: str, count: int, seed: int, template: str) -> list[dict[str, Any]]:
    """Return ``count`` different prompts of a split: training kinds at random, test kinds in turn."""
    rng = random.Random(f"{split} {seed}")
    rows, seen = [], set()
    while len(rows) < count:
        kind = draw_kind(rng) if split == "train" else KINDS[len(rows) % len(KINDS)]
        task = world.task(kind, split, rng)
        messages = prompt_messages(task, template)
        if (key := str(messages)) in seen:
            continue
        seen.add(key)
        rows.append(
            make_row(
                data_source="toolcall/synthetic",
                messages=messages,
                calls=task.calls,
                source_row=len(rows),
                num_tools=len(task.tools),
                turn=len(task.turns) - 1,
                split=split,
                index=len(rows),
                extra={"kind": kind},
            )
        )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder to write the files to")
    parser.add_argument("--train", type=positive, default=4096, help="rows in train.parquet (default: %(default)s)")
    parser.add_argument("--test", type=positive, default=140, help="rows in test.parquet (default: %(default)s)")
    parser.add_argument(
        "--sft", type=positive, default=2200, help="conversations in sft.parquet (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides every row (default: %(default)s)")
    arguments = parser.parse_args(argv)
    with claimed(arguments.output):
        write_files(arguments)


def write_files(arguments: argparse.Namespace) -> None:
    """Write the files, and print how many rows of each kind there are."""
    world, template = World(arguments.seed), load_compact_template()
    counts = {}
    for split in ("train", "test"):
        rows = make_rows(world, split, getattr(arguments, split), arguments.seed, template)
        write_parquet(arguments.output / f"{split}.parquet", rows, EXTRA_FIELDS)
        counts[split] = Counter(row["extra_info"]["kind"] for row in rows)
    taught = [{"messages": messages} for messages in demonstrations(world, arguments.sft, arguments.seed)]
    with atomic_path(arguments.output / "sft.parquet") as temporary:
        write_table(temporary, taught, SFT_SCHEMA)
    write_json(
        arguments.output / "stats.json",
        {"seed": arguments.seed, "rows": {split: dict(kinds) for split, kinds in counts.items()}, "sft": len(taught)},
    )
    table = [[kind, counts["train"][kind], counts["test"][kind]] for kind in KINDS]
    print(format_table(["kind", "train", "test"], table))


if __name__ == "__main__":
    run_command(main)
