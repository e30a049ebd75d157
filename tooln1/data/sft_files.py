"""The way from prepared files to SFT files, with what is said about it on screen and in stats.json."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from tooln1.data.cli import prompt_lengths
from tooln1.data.parquet import split_files
from tooln1.data.pipeline import show_end
from tooln1.data.pool import map_in_order
from tooln1.data.prepared import Unit
from tooln1.data.scan import Rules, scan_unit
from tooln1.data.sft import REASONS, Options, convert_unit, sft_schema
from tooln1.data.split import choose_test, parse_test_size
from tooln1.data.stats import Examples, Tally, format_dropped, format_kept, total_of


def write_sft_files(
    arguments: argparse.Namespace, units: Sequence[Unit], options: Options, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the rows of these units as conversations, print the table, and return what stats.json says.

    Args:
        arguments: as parsed with `tooln1.data.cli.add_output_arguments`; --test-size None keeps the rows' own split.
        settings: what else stats.json should record.

    Raises:
        UserError: a row is broken, there are too few rows to split, or a file cannot be written.
    """
    tallies: dict[str, Tally] = {}
    examples = Examples()
    measure = prompt_lengths(arguments)
    tasks = zip(units, _test_flags(arguments, units, options), strict=True)
    with split_files(arguments.output, sft_schema()) as files:
        files.measure = measure and measure.add
        with tqdm(
            total=sum(unit.rows for unit in units), unit="row", unit_scale=True, desc="writing", disable=None
        ) as bar:
            for converted in map_in_order(partial(convert_unit, options=options), tasks, arguments.workers):
                for split, batch in converted.batches.items():
                    files.write(split, batch)
                for name, tally in converted.tallies.items():
                    tallies.setdefault(name, Tally()).update(tally)
                examples.update(converted.examples)
                bar.update(sum(tally.read for tally in converted.tallies.values()))
        sources = {name: tally.as_dict() for name, tally in sorted(tallies.items())}
        lengths = {"prompt_tokens": measure.as_dict()} if measure else {}
        files.stats = {**settings, "data_sources": sources, **lengths}
    total = total_of(tallies)
    table = format_kept(tallies)
    print(table)
    if total.dropped:
        print("\n" + format_dropped("dropped rows", tallies, REASONS))
    show_end(arguments, files.rows, measure, "SFT", table, total.as_dict()["dropped"], REASONS, examples)
    return files.stats


def _test_flags(arguments: argparse.Namespace, units: Sequence[Unit], options: Options) -> Iterator[list[bool] | None]:
    """For each unit, which of its good rows are for testing; None if the rows' own split stays."""
    if arguments.test_size is None:
        yield from [None] * len(units)
        return
    rules = Rules(skip_broken=options.skip_broken)
    scans = list(map_in_order(partial(scan_unit, rules=rules), units, arguments.workers))
    conversations = np.concatenate([scan.conversations for scan in scans])
    _, conversation, sizes = np.unique(conversations, return_inverse=True, return_counts=True)
    test = np.zeros(len(sizes), bool)
    test[list(choose_test(sizes.tolist(), parse_test_size(arguments.test_size), arguments.seed))] = True
    start = 0
    for scan in scans:
        stop = start + len(scan.conversations)
        yield test[conversation[start:stop]].tolist()
        start = stop
