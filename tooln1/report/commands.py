"""`tooln1 report`."""

import argparse
from pathlib import Path


def add_commands(commands: argparse._SubParsersAction) -> None:
    report = commands.add_parser("report", help="make one HTML page of a run of verl, or of several overlaid")
    report.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, or a file logger's .jsonl")
    report.add_argument("-o", "--output", type=Path, help="the page (default: report.html in the first run's folder)")
    report.add_argument("--text", action="store_true", help="print the summary as plain text and write no page")
    report.add_argument("--figures", type=Path, metavar="DIR", help="also write every chart as PNG and SVG")
    report.add_argument("--watch", action="store_true", help="make the page again and again; Ctrl-C ends it")
    report.add_argument("--every", type=int, default=30, metavar="S", help="seconds between two (default: %(default)s)")
    report.add_argument(
        "--rollouts", type=int, default=8000, metavar="N", help="show at most so many rollouts (default: %(default)s)"
    )
    report.add_argument("--seed", type=int, default=0, help="decides which rollouts are shown (default: %(default)s)")
    report.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    from tooln1.report.command import run_command

    run_command(arguments)
