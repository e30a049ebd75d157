"""What `tooln1 report` does: once, or again and again while a run goes on."""

import argparse
import time
from datetime import datetime

from tooln1.errors import UserError
from tooln1.files import show
from tooln1.report.build import ReportSettings, ScanCache, load_runs
from tooln1.report.figures import write_figures
from tooln1.report.page import write_page
from tooln1.report.summary import write_summary
from tooln1.report.text import format_text


def make_report_command(arguments: argparse.Namespace) -> None:
    """Raises UserError for a run that is none, or a file that cannot be written."""
    cache: ScanCache = {}
    if not arguments.watch:
        _make(arguments, cache)
        return
    try:
        while True:
            _make_if_possible(arguments, cache)
            time.sleep(arguments.every)
    except KeyboardInterrupt:
        return


def _make(arguments: argparse.Namespace, cache: ScanCache) -> None:
    settings = ReportSettings(arguments.rollouts, arguments.seed)
    runs = load_runs(arguments.runs, settings, cache)
    if arguments.text:
        show(format_text(runs))
    else:
        first = arguments.runs[0]
        output = arguments.output or (first.parent if first.is_file() else first) / "report.html"
        write_page(runs, output, settings, arguments.every if arguments.watch else None)
        at = f"{datetime.now():%H:%M:%S} " if arguments.watch else ""
        if arguments.summary:
            show(write_summary(runs[0], arguments.wall_seconds))
            return
        print(f"{at}{output}: {', '.join(f'{run.name} at step {run.facts.steps:,}' for run in runs)}", flush=True)
    if arguments.figures:
        written = write_figures(runs, arguments.figures)
        print(f"{arguments.figures}: {len(written)} figures")


def _make_if_possible(arguments: argparse.Namespace, cache: ScanCache) -> None:
    """A run that has only begun has nothing to show yet; with --watch that is worth waiting for."""
    try:
        _make(arguments, cache)
    except UserError as error:
        if not all(run.is_dir() for run in arguments.runs):
            raise
        print(f"{datetime.now():%H:%M:%S} waiting: {error}", flush=True)
