"""The way from prepared files to a mixture's files, with what is said about it on screen and in stats.json."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from tooln1.data.choice import REASONS, Choice, choose
from tooln1.data.cli import prompt_lengths
from tooln1.data.decontaminate import REASONS as EVALUATION_REASONS
from tooln1.data.decontaminate import read_evaluation
from tooln1.data.mixing import write_mixture
from tooln1.data.mixture import Mixture
from tooln1.data.parquet import split_files
from tooln1.data.pipeline import show_end
from tooln1.data.pool import map_in_order
from tooln1.data.prepared import Unit, open_prepared
from tooln1.data.rows import row_schema, with_template
from tooln1.data.scan import Rules, join_scans, scan_unit
from tooln1.data.split import parse_test_size
from tooln1.data.stats import Example, Examples, Tally, format_dropped, format_kept, total_of
from tooln1.errors import UserError
from tooln1.prompt import load_template


def mix_files(arguments: argparse.Namespace, mixture: Mixture) -> dict[str, Any]:
    """Mix the prepared files that the command line names, and return what stats.json says.

    Raises:
        UserError: an input is broken, there are too few rows, or a file cannot be written.
    """
    test_size = parse_test_size(arguments.test_size)
    units = open_prepared(arguments.input)
    rules = Rules(
        seed=arguments.seed,
        template=load_template(arguments.template) if arguments.template else None,
        irrelevance=arguments.irrelevance,
        mask=arguments.mask,
        evaluation=read_evaluation(arguments.decontaminate) if arguments.decontaminate else None,
        skip_broken=arguments.on_error == "skip",
    )
    schema = _schema(units, rules)
    measure = prompt_lengths(arguments)
    with tqdm(total=sum(unit.rows for unit in units), unit="row", unit_scale=True, desc="reading", disable=None) as bar:
        scans = []
        for scan in map_in_order(partial(scan_unit, rules=rules), units, arguments.workers):
            scans.append(scan)
            bar.update(len(scan.offsets) + scan.broken)
    offsets = [scan.offsets for scan in scans]
    joined = join_scans(scans)
    # A million rows: their digests need not be there twice.
    del scans, scan
    choice = choose(joined, mixture, rules, test_size)
    _add_repeats(joined.examples, choice, units, offsets)
    settings = {"inputs": arguments.input, "preset": arguments.preset, "seed": arguments.seed, "test_size": test_size}
    with split_files(arguments.output, schema) as files:
        files.measure = measure and measure.add
        write_mixture(units, offsets, choice, rules, files, Path(arguments.output), arguments.workers)
        lengths = {"prompt_tokens": measure.as_dict()} if measure else {}
        files.stats = {**settings, "decontaminate": arguments.decontaminate, **choice.counts, **lengths}
    _show(arguments, files.stats, files.rows, measure, joined.examples)
    return files.stats


def _add_repeats(examples: Examples, choice: Choice, units: list[Unit], offsets: list[np.ndarray]) -> None:
    ends = np.cumsum([len(of_unit) for of_unit in offsets])

    def place(number: int) -> str:
        which = int(np.searchsorted(ends, number, side="right"))
        offset = offsets[which][number - ends[which]]  # counted from the unit's end
        return f"{units[which].path}, row {units[which].first + offset}"

    for reason, pairs in choice.repeats.items():
        for repeated, first in pairs:
            examples.add(reason, Example(place(repeated), f"has the prompt of {place(first)}"))


def _schema(units: list[Unit], rules: Rules) -> pa.Schema:
    templates = {rules.template or unit.template for unit in units}
    if len(templates) > 1:
        raise UserError("the inputs were prepared with different templates; give --template FILE to write all with one")
    template = templates.pop()
    return with_template(row_schema(), template) if template else row_schema()


def _show(
    arguments: argparse.Namespace, stats: dict[str, Any], rows: dict[str, int], measure: Any, examples: Examples
) -> None:
    tallies = {name: Tally.from_dict(counts) for name, counts in stats["data_sources"].items()}
    total = total_of(tallies)
    table = format_kept(tallies)
    print(table)
    meanings = {**REASONS, **EVALUATION_REASONS}
    if total.dropped:
        print("\n" + format_dropped("dropped rows", tallies, meanings))
    for name in ("irrelevance", "mask"):
        if stats[name]["rate"]:
            print(f"\n{name}: {stats[name]['rows']:,} of {total.kept:,} rows, asked for {stats[name]['rate']:.1%}")
    dropped = total.as_dict()["dropped"]
    show_end(arguments, rows, measure, "Mixture", table, dropped, meanings, examples)
