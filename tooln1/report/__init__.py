"""The report of a run: one HTML page, a text, and figures for papers, made from what verl leaves in a run folder."""

import sys
from collections.abc import Sequence
from pathlib import Path


def make_report(runs: Sequence[str | Path], output: str | Path) -> Path:
    """Write the page of one run, or of several overlaid, whole or not at all, and return its path.

    Args:
        runs: run folders, or metrics files of verl's file logger.
        output: the HTML file; its folder is made if it is not there.

    Raises:
        tooln1.errors.UserError: a folder holds nothing of a verl run, or the page cannot be written.
    """
    # verl, torch and the plotting library are not needed to import tooln1.
    from tooln1.report.build import ReportSettings, load_runs
    from tooln1.report.page import write_page

    settings = ReportSettings()
    return write_page(load_runs([Path(run) for run in runs], settings), Path(output), settings)


def make_own_report(folder: Path) -> None:
    """Write ``report.html`` into a run's folder at its end: a run that has trained does not fail for the page."""
    try:
        print(f"report          {make_report([folder], folder / 'report.html')}")
    except Exception as error:  # whatever is wrong with the page, the run is done
        print(f"no report: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
