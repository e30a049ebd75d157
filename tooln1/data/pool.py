"""Spreading work over processes without losing its order."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import TypeVar

from tooln1.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

# How many items wait for each worker: enough to keep it busy, few enough to keep memory flat.
_WAITING = 3


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield function(item) for each item, in order, computed by this many processes; with one, in this process.

    `function`, items and results must be picklable if there are several.

    Raises:
        UserError: a worker process was killed. Whatever `function` raises is raised here.
    """
    items = iter(items)
    first = list(islice(items, 2))
    # Starting processes takes longer than one item does.
    if workers <= 1 or len(first) < 2:
        yield from map(function, chain(first, items))
        return
    # Not forked: the parent may have threads (a progress bar's, Arrow's), which a fork would leave in any state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupts)
    try:
        pending: deque[Future[Result]] = deque()
        for item in chain(first, items):
            pending.append(pool.submit(function, item))
            if len(pending) >= workers * _WAITING:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise UserError("a worker process was killed, perhaps for want of memory; give fewer --workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
