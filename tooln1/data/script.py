"""What the scripts of data_prep/ share: their arguments, their worker processes, and the files that they write."""

import argparse
import fcntl
import multiprocessing
import os
import random
import re
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from tooln1 import chat_template
from tooln1.arguments import positive
from tooln1.data.rows import write_table
from tooln1.errors import UserError
from tooln1.files import atomic_path, format_table, write_json, write_text, writing

Item = TypeVar("Item")
Result = TypeVar("Result")

SPLITS = ("train", "test")
_BATCH = 250
# Batches that wait for each worker: enough to keep it busy, few enough to keep memory flat.
_WAITING = 3
_PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}


def add_source_arguments(parser: argparse.ArgumentParser, hub_name: str | None = None) -> None:
    """Add the arguments of a script that prepares conversations; by default, those of a data set on the hub."""
    parser.add_argument(
        "--input",
        nargs="+",
        required=hub_name is None,
        default=[hub_name],
        metavar="PATH",
        help="json, jsonl, ndjson or parquet files, also .gz or .zst, folders of them, or names of data sets on the "
        "Hugging Face hub" + (f" (default: {hub_name})" if hub_name else ""),
    )
    parser.add_argument("--name", type=source_name, help="what the rows are: their data_source is toolcall/NAME")
    parser.add_argument(
        "--include-no-call", action="store_true", help="keep turns answered without a call, as rows with an empty list"
    )
    _add_arguments(parser, 0.05)


def add_prepared_arguments(parser: argparse.ArgumentParser, test_size: float | None = None) -> None:
    """Add the arguments of a script that reads prepared files; a test size of None keeps their split."""
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="prepared folders or parquet files")
    _add_arguments(parser, test_size)


def _add_arguments(parser: argparse.ArgumentParser, test_size: float | None) -> None:
    parser.add_argument("--output", metavar="DIR", required=True, help="folder for train, test and stats files")
    parser.add_argument(
        "--test-size",
        metavar="SIZE",
        type=parse_test_size,
        default=test_size,
        help="fraction of the rows held out for testing, or their number; conversations stay whole "
        f"(default: {test_size or 'the split of the input'})",
    )
    parser.add_argument("--seed", type=int, default=0, help="decides everything random (default: %(default)s)")
    parser.add_argument(
        "--template",
        help="another prompt template: a file that marks the tools' place with {tools}, compact, or direct",
    )
    parser.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="what to do with a row that does not have the promised form (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        # The parent, which reads and writes, cannot keep more than four busy.
        default=min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1),
        metavar="N",
        help="processes to work with; any number gives the same files (default: %(default)s here)",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        nargs="?",
        const="",
        help="write examples of each reason, as Markdown (without FILE: report.md in the output folder)",
    )
    parser.add_argument("--tokenizer", metavar="PATH", help="measure the prompts with this tokenizer")
    parser.add_argument(
        "--max-prompt-length",
        type=positive,
        default=4096,
        metavar="TOKENS",
        help="with --tokenizer, count the prompts over this limit (default: %(default)s)",
    )


def source_name(text: str) -> str:
    """Read --name."""
    if not re.fullmatch(r"[\w.-]+", text):
        raise argparse.ArgumentTypeError(f"expected letters, digits, and any of _ . -, got {text}")
    return text


def parse_test_size(text: str) -> float | int:
    """Read --test-size: a whole number counts rows, a number between 0 and 1 is a fraction of them."""
    try:
        if text.isdecimal() and int(text) > 0:
            return int(text)
        if 0 < float(text) < 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a fraction between 0 and 1, or a whole number of rows, got {text}")


def map_batches(
    function: Callable[[list[Item]], Result], items: Iterable[Item], workers: int, total: int, title: str
) -> Iterator[Result]:
    """Yield function(batch) for batches of items, in order, under a progress bar.

    Args:
        function: must be picklable, like items and results.
        workers: the number of processes; with one, all is computed in this process.
        total: about how many items there are.

    Raises:
        UserError: a worker process was killed. What `function` raises is raised here.
    """
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(total=total, unit="row", unit_scale=True, desc=title, disable=None) as bar:
        for result in _map_batches(function, items, workers):
            yield result
            bar.update(_BATCH)


def map_items(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, total: int, title: str
) -> Iterator[Result]:
    """Yield function(item) for each item, in order; everything else as for `map_batches`."""
    for results in map_batches(partial(_each, function), items, workers, total, title):
        yield from results


def _each(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return list(map(function, items))


def _map_batches(function: Callable[[list[Item]], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    iterator = iter(items)
    batches: Iterator[list[Item]] = iter(lambda: list(islice(iterator, _BATCH)), [])
    first = list(islice(batches, 2))
    # Starting processes takes longer than one batch does.
    if workers == 1 or len(first) < 2:
        yield from map(function, chain(first, batches))
        return
    # Not forked: the parent may have threads (a progress bar's, Arrow's), and a fork would copy their locks.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupts)
    pending: deque[Future[Result]] = deque()
    try:
        for batch in chain(first, batches):
            pending.append(pool.submit(function, batch))
            if len(pending) >= workers * _WAITING:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise UserError("a worker process was killed, perhaps for lack of memory; give fewer --workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    # Ctrl-C reaches every process of the terminal; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def claimed(output: str | Path) -> Iterator[None]:
    """Keep a folder to this run while the block runs; it is made, and removed if nothing was written.

    Raises:
        UserError: another run has it, or it cannot be made.
    """
    folder = Path(output)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The folder itself is locked: a lock file would stay behind.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"{folder}: another run writes into it; wait for it, or choose another --output") from None
    finally:
        os.close(handle)
        with suppress(OSError):
            folder.rmdir()


def choose_test(conversations: Sequence[int], test_size: float | int, seed: int) -> np.ndarray:
    """Return for each row whether it is for testing, given the number of its conversation.

    Conversations stay whole: the test rows are as many as `test_size` asks for, or as few below as that needs. At least
    one conversation goes to either side.

    Raises:
        UserError: there are too few rows.
    """
    _, numbers, sizes = np.unique(np.array(conversations, np.uint64), return_inverse=True, return_counts=True)
    total = len(conversations)
    wanted = test_size if isinstance(test_size, int) else max(1, round(total * test_size))
    if wanted >= total or len(sizes) < 2:
        raise UserError(
            f"a test set of {wanted:,} rows leaves nothing to train on: {total:,} rows of {len(sizes):,} conversations "
            "could be used; lower --test-size or give more input"
        )
    order = list(range(len(sizes)))
    random.Random(seed).shuffle(order)
    test = np.zeros(len(sizes), bool)
    rows = 0
    for number in order:
        if rows + sizes[number] <= wanted:
            test[number] = True
            rows += int(sizes[number])
    if not rows:
        # Every conversation is longer than the test set should be: the shortest comes nearest.
        test[min(order, key=lambda number: sizes[number])] = True
    return test[numbers]


def split_rows(rows: Sequence[dict[str, Any]], test: Sequence[bool]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each split in order; their extra_info gets the split and their place in it."""
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for row, is_test in zip(rows, test, strict=True):
        split = SPLITS[bool(is_test)]
        row["extra_info"].update(split=split, index=len(splits[split]))
        splits[split].append(row)
    return splits


def load_tokenizer(path: str | None) -> Any:
    """Return the tokenizer in a Hugging Face folder, None without a path. Raises UserError."""
    return None if path is None else chat_template.load_tokenizer(path)


def _measure_prompts(splits: Mapping[str, Sequence[Mapping[str, Any]]], tokenizer: Any, limit: int) -> dict[str, Any]:
    """Return for each split percentiles of the prompt lengths in tokens, and the number of prompts over the limit.

    The length is the one that verl compares with data.max_prompt_length (verl/utils/dataset/rl_dataset.py): chat
    template applied, generation prompt included.
    """
    found = {}
    for split, rows in splits.items():
        lengths: list[int] = []
        for start in tqdm(range(0, len(rows), _BATCH), desc=f"measuring {split}", unit="batch", disable=None):
            batch = rows[start : start + _BATCH]
            prompts = [row["prompt"] if "prompt" in row else row["messages"][:-1] for row in batch]
            texts = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
            lengths += map(len, tokenizer(texts, add_special_tokens=False)["input_ids"])
        if lengths:
            ranks = np.percentile(lengths, list(_PERCENTILES.values()), method="inverted_cdf")
            measured = {name: int(length) for name, length in zip(_PERCENTILES, ranks, strict=True)}
            found[split] = {**measured, "over_limit": sum(length > limit for length in lengths)}
    return found


def write_data_set(
    arguments: argparse.Namespace,
    splits: Mapping[str, Sequence[dict[str, Any]]],
    schema: pa.Schema,
    stats: Mapping[str, Any],
    report: str,
    tokenizer: Any,
) -> None:
    """Write train.parquet, test.parquet, stats.json and the report, together or not at all, and print what was written.

    Args:
        arguments: as parsed with `add_output_arguments`.
        stats: the content of stats.json; the numbers of rows are added as "rows".
        report: the page that --report writes.
        tokenizer: measures the prompts, unless it is None; stats.json gets the result as "prompt_tokens".

    Raises:
        UserError: a file cannot be written.
    """
    folder = Path(arguments.output)
    page = None if arguments.report is None else Path(arguments.report or folder / "report.md")
    stats = {**stats, "rows": {split: len(rows) for split, rows in splits.items()}}
    if tokenizer:
        limit = arguments.max_prompt_length
        measured = _measure_prompts(splits, tokenizer, limit)
        stats["prompt_tokens"] = {"tokenizer": arguments.tokenizer, "limit": limit, **measured}
        header = ["prompt tokens", *_PERCENTILES, f"over {limit:,}"]
        print("\n" + format_table(header, [[split, *numbers.values()] for split, numbers in measured.items()]))
    with ExitStack() as stack:
        for split, rows in splits.items():
            write_table(stack.enter_context(atomic_path(folder / f"{split}.parquet")), rows, schema)
        write_json(stack.enter_context(atomic_path(folder / "stats.json")), stats)
        if page:
            write_text(stack.enter_context(atomic_path(page)), report)
    written = ", ".join(f"{split}.parquet {count:,} rows" for split, count in stats["rows"].items())
    print(f"\n{folder}: {written}, stats.json" + (f"; {page}" if page else ""))
