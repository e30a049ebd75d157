"""Scores a million random replies in both profiles and checks that nothing is raised: a nightly run.

    python tests/reward_score/fuzz_million.py --count 1000000 --seed 0

About 500 replies a second and core. A reply that breaks a promise is printed, made as small as hypothesis can, and the
exit code is 1. The same count and seed draw the same replies, however many processes share them.
"""

import argparse
import os
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed

from hypothesis import HealthCheck, Phase, given, seed, settings
from toolcall_fuzz import EXAMPLES, examine
from tqdm import tqdm

CHUNK = 2_000


def run_chunk(number: int, count: int) -> tuple[int, str]:
    """Draw ``count`` replies with seed ``number``; return how many were scored, and a failure's text or ""."""
    scored = 0

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(EXAMPLES)
    def score(example):
        nonlocal scored
        scored += 1
        examine(*example)

    try:
        score()
    except Exception:  # whatever was raised is what this script looks for
        return scored, traceback.format_exc()
    return scored, ""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="replies to score (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides the replies (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one per core")
    arguments = parser.parse_args()
    sizes = [min(CHUNK, arguments.count - start) for start in range(0, arguments.count, CHUNK)]
    first = arguments.seed * 1_000_000
    with (
        ProcessPoolExecutor(arguments.processes) as pool,
        tqdm(total=arguments.count, unit=" replies", disable=not sys.stderr.isatty()) as bar,
    ):
        chunks = [pool.submit(run_chunk, first + number, size) for number, size in enumerate(sizes)]
        for chunk in as_completed(chunks):
            scored, failure = chunk.result()
            bar.update(scored)
            if failure:
                pool.shutdown(cancel_futures=True)
                raise SystemExit(failure)
    print(f"{arguments.count} replies scored in both profiles, nothing raised (seed {arguments.seed})")


if __name__ == "__main__":
    main()
