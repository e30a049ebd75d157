"""One evaluation from beginning to end: load the cases, ask, judge, write."""

import asyncio
import hashlib
import json
import sys
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import Any

from tooln1.arguments import endpoint_fields
from tooln1.endpoint import Endpoint, ask, ask_all, resolve
from tooln1.errors import EXIT_FAILURE, UserError
from tooln1.eval.acebench import AceBench
from tooln1.eval.api_bank import ApiBank
from tooln1.eval.benchmark import Benchmark, Case, Reading
from tooln1.eval.bfcl import SETS, Bfcl, find_python
from tooln1.eval.form import Form, load_form_template
from tooln1.eval.rows import Rows
from tooln1.eval.summary import published, summarise, write_evaluation
from tooln1.files import read_text, show
from tooln1.response_log import ResponseLog
from tooln1.run_folder import ORIGIN
from tooln1.serve.server import served

# A case: its benchmark's name, its id, and the number of the repeat.
Key = tuple[str, str, int]
# The lines of a case's responses in the log, in order.
Steps = list[dict[str, Any]]


def load_benchmarks(
    names: Sequence[str],
    template: str | None = None,
    data: Path | None = None,
    form: str | None = None,
    bfcl_python: str | None = None,
    output: Path = Path(),
) -> list[Benchmark]:
    """Load the cases of benchmarks. Raises UserError if one is unknown, or its data are missing or broken.

    Args:
        names: of benchmarks; several of BFCL's sets are one benchmark.
        template: the text of the prompt template of `rows`.
        data: the folder with the data of API-Bank and ACEBench, or the parquet file of `rows`.
        form: which form of API-Bank's data.
        output: the folder of the evaluation, for the files of the benchmarks' own code.
    """
    sets = [name for name in dict.fromkeys(names) if name in SETS]
    makers = dict.fromkeys(SETS, lambda: Bfcl(find_python(bfcl_python), output / "bfcl", sets)) | {
        "api_bank": lambda: ApiBank(data, form, output / "api_bank.log"),
        "acebench": lambda: AceBench(data),
        "rows": lambda: Rows(data, template),
    }
    if unknown := [name for name in names if name not in makers]:
        raise UserError(f"--bench {unknown[0]}: unknown; choose from {', '.join(makers)}")
    if data is None and not SETS.keys() >= set(names):
        raise UserError(
            "--data PATH is missing: the folder with the data of API-Bank and ACEBench, or the parquet file of rows; "
            "docs/evaluation.md says where to get the data"
        )
    return [makers[name]() for name in dict.fromkeys(names) if name not in sets[1:]]


def default_output(target: str) -> Path:
    """Return the folder for the results of a checkpoint or an address."""
    name = Path(target).resolve().name if Path(target).is_dir() else target.rstrip("/").split("://")[-1]
    return Path("runs") / "eval" / "".join(char if char.isalnum() or char in "-." else "_" for char in name)


def evaluate(
    target: str,
    benchmarks: Sequence[Benchmark],
    endpoint: Endpoint,
    form: Form,
    output: Path,
    *,
    template: str | None = None,
    limit: int | None = None,
    repeats: int = 1,
    shuffle_tools: bool = False,
    serve: Sequence[str] = (),
) -> tuple[str, int]:
    """Evaluate a checkpoint or a running endpoint, and write the files that `tooln1.eval` describes.

    Return the tables of summary.md, and the number of cases without a response. Raises UserError if the endpoint does
    not answer, or the output folder belongs to other settings.

    Args:
        target: a folder with a model, or an address such as http://localhost:8000/v1.
        endpoint: how to ask; its address, and its model if that is empty, come from the target.
        form: how a case becomes a request, and how its response is read.
        template: the name of the prompt template, for the summary.
        limit: ask only this many cases of each category.
        repeats: how often each case is asked; each time with another seed.
        shuffle_tools: from the second time on, also with the tools in another order.
        serve: for a checkpoint, options of `tooln1 serve`.
    """
    chosen = {one.name: _limited(one.cases, limit) for one in benchmarks}
    asked = {
        (one.name, case.id, repeat): (one, _shuffled(case, endpoint.seed, repeat) if shuffle_tools and repeat else case)
        for repeat in range(repeats)
        for one in benchmarks
        for case in chosen[one.name]
    }
    with _address(target, output, serve) as address:
        endpoint = asyncio.run(resolve(replace(endpoint, base_url=address)))
        # A checkpoint is known by its folder, not by the address that it happens to get.
        model = endpoint.model if target == address else target
        settings = {
            **endpoint.settings(),
            "reader": form.reader,
            "shuffle_tools": shuffle_tools,
            "model": model,
            **({"weights": read_text(origin)} if (origin := Path(target) / ORIGIN).is_file() else {}),
            "benchmarks": {one.name: _identity(one, form) for one in benchmarks},
        }
        steps, unanswered = collect(asked, endpoint, form, output / "responses.jsonl", settings)
    results = {one.name: _judge(one, asked, steps, form) for one in benchmarks}
    summary = {
        "model": model,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": {**settings, "limit": limit, "template": template, "repeats": repeats},
        "benchmarks": {one.name: summarise(one, results[one.name], unanswered) for one in benchmarks},
        "published": published(),
    }
    rows = [row for one in benchmarks for row in results[one.name]]
    return write_evaluation(output, summary, rows), len(unanswered)


def evaluate_command(arguments: Namespace, target: str, output: Path) -> int:
    """Run `tooln1 eval` on a model's folder or an address, and return the exit code. Raises UserError."""
    if arguments.repeats > 1 and not (arguments.temperature or arguments.shuffle_tools):
        raise UserError("--repeats: all would be the same; add --temperature T, --shuffle-tools, or both")
    template = load_form_template(target, arguments.template)
    names = arguments.bench.split(",")
    benchmarks = load_benchmarks(names, template, arguments.data, arguments.form, arguments.bfcl_python, output)
    fields = {name: getattr(arguments, name) for name in ("model", "interface", "seed")}
    options = {name: getattr(arguments, name) for name in ("template", "limit", "repeats", "shuffle_tools", "serve")}
    endpoint = Endpoint(base_url="", **fields, **endpoint_fields(arguments))
    form = Form(template, arguments.reader, arguments.interface == "tools")
    try:
        text, unanswered = evaluate(target, benchmarks, endpoint, form, output, **options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command resumes") from None
    show(text)
    if unanswered:
        print(
            f"cases without a response, in no figure: {unanswered:,}; the same command asks them again", file=sys.stderr
        )
    return EXIT_FAILURE if unanswered else 0


@contextmanager
def _address(target: str, output: Path, serve: Sequence[str]) -> Iterator[str]:
    if target.startswith(("http://", "https://")):
        yield target
    elif Path(target).is_dir():
        with served(Path(target), output / "server.log", serve) as address:
            yield address
    else:
        raise UserError(f"{target}: neither a model's folder nor an address that starts with http:// or https://")


def _identity(benchmark: Benchmark, form: Form) -> dict[str, str]:
    """What makes two runs of a benchmark comparable: its version, and a digest of all requests and ground truths."""
    digest = hashlib.sha256()
    for case in benchmark.cases:
        request = form.request(case, case.turns)
        digest.update(json.dumps([case.id, request, case.data.get("turns"), case.ground_truth]).encode())
    return {"version": benchmark.version, "cases": digest.hexdigest()[:16]}


def _limited(cases: Sequence[Case], limit: int | None) -> list[Case]:
    taken: dict[str, list[Case]] = {}
    for case in cases:
        taken.setdefault(case.category, []).append(case)
    return [case for of_category in taken.values() for case in of_category[:limit]]


def _shuffled(case: Case, seed: int | None, repeat: int) -> Case:
    if case.tools is None:
        raise UserError(f"{case.id}: only its prompt is known, not its tools; leave out --shuffle-tools")
    tools = list(case.tools)
    Random(f"{seed} {repeat} {case.id}").shuffle(tools)
    return replace(case, tools=tools)


def collect(
    asked: Mapping[Key, tuple[Benchmark, Case]],
    endpoint: Endpoint,
    form: Form,
    path: Path,
    settings: Mapping[str, Any],
) -> tuple[dict[Key, Steps], dict[Key, str]]:
    """Ask for all responses that the log at ``path`` does not hold yet.

    Return the lines of the finished cases and, for the other cases, {case: reason}. Raises UserError if the endpoint
    gives no responses (`ask_all`), or the log belongs to other settings.
    """
    steps: dict[Key, Steps] = defaultdict(list)
    with ResponseLog(path, settings, ("benchmark", "id", "repeat", "response")) as log:
        for line in log:
            steps[line["benchmark"], line["id"], line["repeat"]].append(line)

        def next_request(key: Key) -> dict[str, Any] | None:
            benchmark, case = asked[key]
            turns = benchmark.next_turns(case, [form.read(case, line) for line in steps[key]])
            return turns and form.request(case, turns)

        async def ask_one(client: Any, key: Key) -> None:
            while request := next_request(key):
                messages = request.pop("messages")
                seed = None if endpoint.seed is None else endpoint.seed + key[2]
                own = replace(endpoint, extra={**endpoint.extra, **request}, seed=seed)
                response = await ask(client, own, messages)
                line = {
                    **dict(zip(("benchmark", "id", "repeat"), key, strict=True)),
                    "response": response.text,
                    **({"tool_calls": response.tool_calls} if form.native else {}),
                    "finish_reason": response.finish_reason,
                    "input_tokens": response.input_tokens,
                    "output_tokens": response.output_tokens,
                }
                log.add(line)
                steps[key].append(line)

        missing = [key for key in asked if next_request(key)]
        failures = asyncio.run(ask_all(endpoint, missing, ask_one, len(asked) - len(missing)))
    unanswered = dict(failures)
    return {key: steps[key] for key in asked if key not in unanswered}, unanswered


def _judge(
    benchmark: Benchmark, asked: Mapping[Key, tuple[Benchmark, Case]], steps: Mapping[Key, Steps], form: Form
) -> list[dict[str, Any]]:
    """Return the benchmark's lines of results.jsonl; verdict and response are None if a case has no response."""
    cases = {key: case for key, (one, case) in asked.items() if one is benchmark}
    readings: dict[int, dict[str, Reading]] = {repeat: {} for *_, repeat in cases}
    for key, case in cases.items():
        if key in steps:
            *earlier, last = (form.read(case, line) for line in steps[key])
            readings[key[2]][case.id] = replace(last, earlier=tuple(earlier))
    mistakes = {repeat: benchmark.judge_all(own) for repeat, own in readings.items()}
    results = []
    for key, case in cases.items():
        reading, mistake = readings[key[2]].get(case.id), mistakes[key[2]].get(case.id)
        reasons = [line["finish_reason"] for line in steps.get(key, ())]
        row = {
            **dict(zip(("benchmark", "id", "repeat"), key, strict=True)),
            "category": case.category,
            "correct": reading and mistake is None,
            "error": reading and (mistake.kind if mistake else ""),
            "detail": reading and (mistake.detail if mistake else ""),
            "response": reading and reading.response,
            "calls": reading and reading.calls,
            "ground_truth": case.ground_truth,
            "finish_reason": "length" if "length" in reasons else reasons[-1] if reasons else None,
        }
        if reading and (transcript := benchmark.transcript(case, reading)):
            row["transcript"] = transcript
        results.append(row)
    return results
