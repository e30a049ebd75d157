"""One evaluation from beginning to end: load, ask, judge, write."""

import argparse
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tooln1.arguments import endpoint_fields
from tooln1.endpoint import Endpoint, resolve
from tooln1.errors import UserError
from tooln1.eval.acebench import AceBench
from tooln1.eval.api_bank import ApiBank
from tooln1.eval.bfcl import Bfcl, find_python
from tooln1.eval.cases import Benchmark, Case, Verdict, contradictions
from tooln1.eval.reply import Reading, read_reply
from tooln1.eval.runner import Key, Replies, collect
from tooln1.eval.summary import published, summarise, write_results, write_summary
from tooln1.prompt import load_model_template
from tooln1.reward_score.toolcall import THINK
from tooln1.serve.server import served

BENCHMARKS = ("bfcl", "api_bank", "acebench")


@dataclass(frozen=True)
class Options:
    """What is evaluated, besides the endpoint: `limit` is cases of each category, None for all."""

    output: Path
    benchmarks: Sequence[str] = BENCHMARKS
    data: Path | None = None
    form: str | None = None
    template: str | None = None
    limit: int | None = None
    bfcl_python: str | None = None
    serve: Sequence[str] = ()


def evaluate_command(arguments: argparse.Namespace) -> tuple[str, int]:
    """Evaluate as the command line asks, and return what `evaluate` does. Raises UserError."""
    names = arguments.bench.split(",")
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise UserError(f"--bench {unknown[0]}: unknown; choose of {', '.join(BENCHMARKS)}")
    endpoint = Endpoint(
        base_url="",
        model=arguments.model,
        interface=arguments.interface,
        seed=arguments.seed,
        **endpoint_fields(arguments),
    )
    options = Options(
        output=arguments.output or _default_output(arguments.target),
        benchmarks=list(dict.fromkeys(names)),
        data=arguments.data,
        form=arguments.form,
        template=arguments.template,
        limit=arguments.limit,
        bfcl_python=arguments.bfcl_python,
        serve=shlex.split(arguments.serve),
    )
    return evaluate(arguments.target, endpoint, options)


def _default_output(target: str) -> Path:
    name = Path(target).resolve().name if Path(target).is_dir() else target.rstrip("/").split("://")[-1]
    return Path("runs") / "eval" / "".join(char if char.isalnum() or char in "-." else "_" for char in name)


def evaluate(target: str, endpoint: Endpoint, options: Options) -> tuple[str, int]:
    """Evaluate a checkpoint or a running endpoint.

    Args:
        target: a folder with a model, or an address such as http://localhost:8000/v1.
        endpoint: how to ask; its address, and an empty model's name, come from the target.

    Returns:
        The tables of summary.md, and how many cases got no reply.

    Raises:
        UserError: something in the data, the endpoint or the output folder must be mended first.
    """
    # The data come first: a mistake in them should not wait for a server to start.
    template = load_model_template(target, options.template)
    benchmarks = _load(options, template)
    is_address = target.startswith(("http://", "https://"))
    log = options.output / "server.log"
    with nullcontext(target) if is_address else served(_checkpoint(target), log, options.serve) as address:
        ready = resolve(replace(endpoint, base_url=address))
        # A checkpoint is known by its folder, not by the address that it happens to get.
        named = ready.settings() if is_address else {**ready.settings(), "model": target}
        settings = {**named, "benchmarks": {one.name: _identity(one, options) for one in benchmarks}}
        with Replies(options.output / "replies.jsonl", settings) as replies:
            chosen = {one.name: _limited(one.cases, options.limit) for one in benchmarks}
            prompts = [((name, case.id), case.messages) for name, cases in chosen.items() for case in cases]
            unanswered = collect(prompts, ready, replies)
    tables = _conclude(benchmarks, chosen, replies.by_case, unanswered, settings, options, THINK in template)
    return tables, len(unanswered)


def _checkpoint(target: str) -> Path:
    path = Path(target)
    if not path.is_dir():
        raise UserError(f"{target}: neither a model's folder nor an address that starts with http:// or https://")
    return path


def _load(options: Options, template: str) -> list[Benchmark]:

    def data() -> Path:
        if options.data is None:
            raise UserError(
                "--data DIR is missing: the folder with the data of API-Bank and ACEBench; docs/evaluation.md says "
                "where to get them"
            )
        return options.data

    makers = {
        "bfcl": lambda: Bfcl(find_python(options.bfcl_python), options.output / "bfcl", template),
        "api_bank": lambda: ApiBank(data(), template, options.form),
        "acebench": lambda: AceBench(data(), template),
    }
    return [makers[name]() for name in options.benchmarks]


def _identity(benchmark: Benchmark, options: Options) -> dict[str, str]:
    """What makes two runs of a benchmark comparable: its version, and a digest of all prompts and references."""
    digest = hashlib.sha256()
    for case in benchmark.cases:
        digest.update(json.dumps([case.id, case.messages, case.reference]).encode())
    return {"version": benchmark.version, "cases": digest.hexdigest()[:16]}


def _limited(cases: Sequence[Case], limit: int | None) -> list[Case]:
    taken: dict[str, list[Case]] = {}
    for case in cases:
        taken.setdefault(case.category, []).append(case)
    return [case for of_category in taken.values() for case in of_category[:limit]]


def _conclude(
    benchmarks: Sequence[Benchmark],
    chosen: Mapping[str, Sequence[Case]],
    replies: Mapping[Key, Mapping[str, Any]],
    unanswered: Mapping[Key, str],
    settings: Mapping[str, Any],
    options: Options,
    reasoning: bool,
) -> str:
    rows: list[dict[str, Any]] = []
    parts = {}
    for benchmark in benchmarks:
        asked = [case.id for case in chosen[benchmark.name]]
        answered = {name: replies[benchmark.name, name] for name in asked if (benchmark.name, name) in replies}
        readings = {name: read_reply(line["reply"], reasoning) for name, line in answered.items()}
        verdicts = benchmark.judge(readings)
        own = [_row(benchmark.name, case, answered.get(case.id), readings, verdicts) for case in chosen[benchmark.name]]
        reasons = {name: reason for (its, name), reason in unanswered.items() if its == benchmark.name}
        impossible = {**contradictions(benchmark.cases), **benchmark.impossible()}
        parts[benchmark.name] = summarise(benchmark, own, impossible, reasons)
        rows += own
    summary = {
        "model": settings["model"],
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": {**settings, "limit": options.limit, "template": options.template},
        "benchmarks": parts,
        "reference": published(),
    }
    write_results(options.output, rows)
    return write_summary(options.output, summary, rows)


def _row(
    benchmark: str,
    case: Case,
    line: Mapping[str, Any] | None,
    readings: Mapping[str, Reading],
    verdicts: Mapping[str, Verdict],
) -> dict[str, Any]:
    verdict = verdicts.get(case.id)
    return {
        "benchmark": benchmark,
        "id": case.id,
        "category": case.category,
        "correct": verdict and verdict.correct,
        "error": verdict and verdict.error,
        "detail": verdict and verdict.detail,
        "reply": line and line["reply"],
        "calls": readings[case.id].calls if line else None,
        "reference": case.reference,
        "finish_reason": line and line["finish_reason"],
    }
