"""The report of a run: one HTML page, a text, and figures for papers, made from the files that verl leaves."""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tooln1.errors import UserError
from tooln1.files import one_line, show
from tooln1.run_folder import RunFolder

# The page, the figures and the reading of runs are imported inside the functions, because they import large packages.


def make_report(runs: Sequence[str | Path], output: str | Path) -> Path:
    """Write the page of one run, or of several overlaid, atomically, and return its path.

    Args:
        runs: run folders, or metrics files of verl's file logger.
        output: the HTML file; its folder is made if it does not exist.

    Raises:
        UserError: a folder holds nothing of a verl run, or the page cannot be written.
    """
    from tooln1.report.page import write_page
    from tooln1.report.run_data import load_runs

    return write_page(load_runs([Path(run) for run in runs]), Path(output))


def make_own_report(folder: RunFolder) -> None:
    """Write the page of a run that has just trained. The run does not fail if the page does."""
    try:
        print(f"report          {make_report([folder.path], folder.report)}")
    except Exception as error:  # the training is done, with or without a page
        print(f"no report: {one_line(error)}", file=sys.stderr)


def report_command(arguments: argparse.Namespace) -> None:
    """Run `tooln1 report`. Raises UserError for a path that is no run, or a file that cannot be written."""
    cache = {}
    if not arguments.watch:
        _report(arguments, cache)
        return
    try:
        while True:
            try:
                _report(arguments, cache)
            except UserError as error:
                # A run that has only begun has nothing to show yet.
                if not all(run.is_dir() for run in arguments.runs):
                    raise
                print(f"{datetime.now():%H:%M:%S} waiting: {error}", flush=True)
            time.sleep(arguments.every)
    except KeyboardInterrupt:
        return


def _report(arguments: argparse.Namespace, cache: dict) -> None:
    from tooln1.report.figures import write_figures
    from tooln1.report.page import write_page
    from tooln1.report.run_data import load_runs
    from tooln1.report.text import format_text, write_summary

    runs = load_runs(arguments.runs, arguments.rollouts, arguments.seed, cache)
    if arguments.wall_seconds is not None:
        runs[0].record["wall_seconds"] = arguments.wall_seconds
    if arguments.text:
        show(format_text(runs))
    else:
        first = arguments.runs[0]
        output = arguments.output or RunFolder(first.parent if first.is_file() else first).report
        write_page(runs, output, arguments.seed, arguments.every if arguments.watch else None)
        if not arguments.summary:
            at = f"{datetime.now():%H:%M:%S} " if arguments.watch else ""
            print(f"{at}{output}: {', '.join(f'{run.name} at step {run.steps:,}' for run in runs)}", flush=True)
    if arguments.summary:
        show(write_summary(runs[0]))
    if arguments.figures:
        written = write_figures(runs, arguments.figures)
        print(f"{arguments.figures}: {len(written)} figures")
