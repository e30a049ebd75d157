"""Running a script of data_prep/ in this process, and reading what it wrote."""

import json

import pyarrow.parquet as pq

SPLITS = ("train", "test")


def rows_of(folder, *splits):
    """Return the rows of these splits, of both without any."""
    return [row for split in splits or SPLITS for row in pq.read_table(folder / f"{split}.parquet").to_pylist()]


def run_script(script, output, *inputs, **options):
    """Run a script's main with one worker; return the rows it wrote, and its stats."""
    words = ["--input", *map(str, inputs), "--output", str(output)]
    for name, value in {"workers": 1, **options}.items():
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    script.main(words)
    return rows_of(output), json.loads((output / "stats.json").read_text())
