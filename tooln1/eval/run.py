"""One evaluation from beginning to end: load the cases, ask, judge, write."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tooln1.endpoint import Endpoint, Messages, ask, ask_all, resolve
from tooln1.errors import UserError
from tooln1.eval.acebench import AceBench
from tooln1.eval.api_bank import ApiBank
from tooln1.eval.benchmark import Benchmark, Case, read_response
from tooln1.eval.bfcl import Bfcl, find_python
from tooln1.eval.rows import Rows
from tooln1.eval.summary import published, summarise, write_evaluation
from tooln1.response_log import ResponseLog
from tooln1.serve.server import served

# A case: its benchmark's name and its id.
Key = tuple[str, str]


def load_benchmarks(
    names: Sequence[str],
    template: str,
    data: Path | None = None,
    form: str | None = None,
    bfcl_python: str | None = None,
    output: Path = Path(),
) -> list[Benchmark]:
    """Load the cases of benchmarks. Raises UserError if one is unknown, or its data are missing or broken.

    Args:
        template: the text of the prompt template.
        data: the folder with the data of API-Bank and ACEBench, or the parquet file of `rows`.
        form: which form of API-Bank's data.
        output: the folder of the evaluation, for the files of the benchmarks' own code.
    """
    makers = {
        "bfcl": lambda: Bfcl(find_python(bfcl_python), output / "bfcl", template),
        "api_bank": lambda: ApiBank(data, template, form, output / "api_bank.log"),
        "acebench": lambda: AceBench(data, template),
        "rows": lambda: Rows(data),
    }
    if unknown := [name for name in names if name not in makers]:
        raise UserError(f"--bench {unknown[0]}: unknown; choose from {', '.join(makers)}")
    if data is None and set(names) != {"bfcl"}:
        raise UserError(
            "--data PATH is missing: the folder with the data of API-Bank and ACEBench, or the parquet file of rows; "
            "docs/evaluation.md says where to get the data"
        )
    return [makers[name]() for name in dict.fromkeys(names)]


def default_output(target: str) -> Path:
    """Return the folder for the results of a checkpoint or an address."""
    name = Path(target).resolve().name if Path(target).is_dir() else target.rstrip("/").split("://")[-1]
    return Path("runs") / "eval" / "".join(char if char.isalnum() or char in "-." else "_" for char in name)


def evaluate(
    target: str,
    benchmarks: Sequence[Benchmark],
    endpoint: Endpoint,
    output: Path,
    *,
    template: str | None = None,
    limit: int | None = None,
    serve: Sequence[str] = (),
) -> tuple[str, int]:
    """Evaluate a checkpoint or a running endpoint, and write the files that `tooln1.eval` describes.

    Return the tables of summary.md, and the number of cases without a response. Raises UserError if the endpoint does
    not answer, or the output folder belongs to other settings.

    Args:
        target: a folder with a model, or an address such as http://localhost:8000/v1.
        endpoint: how to ask; its address, and its model if that is empty, come from the target.
        template: the name of the prompt template, for the summary.
        limit: ask only this many cases of each category.
        serve: for a checkpoint, options of `tooln1 serve`.
    """
    chosen = {one.name: _limited(one.cases, limit) for one in benchmarks}
    prompts = {(name, case.id): case.messages for name, cases in chosen.items() for case in cases}
    with _address(target, output, serve) as address:
        endpoint = asyncio.run(resolve(replace(endpoint, base_url=address)))
        # A checkpoint is known by its folder, not by the address that it happens to get.
        model = endpoint.model if target == address else target
        identities = {one.name: _identity(one) for one in benchmarks}
        settings = {**endpoint.settings(), "model": model, "benchmarks": identities}
        lines, unanswered = collect(prompts, endpoint, output / "responses.jsonl", settings)
    results = {one.name: _judge(one, chosen[one.name], lines) for one in benchmarks}
    summary = {
        "model": model,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": {**settings, "limit": limit, "template": template},
        "benchmarks": {one.name: summarise(one, results[one.name], unanswered) for one in benchmarks},
        "published": published(),
    }
    rows = [row for one in benchmarks for row in results[one.name]]
    return write_evaluation(output, summary, rows), len(unanswered)


@contextmanager
def _address(target: str, output: Path, serve: Sequence[str]) -> Iterator[str]:
    if target.startswith(("http://", "https://")):
        yield target
    elif Path(target).is_dir():
        with served(Path(target), output / "server.log", serve) as address:
            yield address
    else:
        raise UserError(f"{target}: neither a model's folder nor an address that starts with http:// or https://")


def _identity(benchmark: Benchmark) -> dict[str, str]:
    """What makes two runs of a benchmark comparable: its version, and a digest of all prompts and ground truths."""
    digest = hashlib.sha256()
    for case in benchmark.cases:
        digest.update(json.dumps([case.id, case.messages, case.ground_truth]).encode())
    return {"version": benchmark.version, "cases": digest.hexdigest()[:16]}


def _limited(cases: Sequence[Case], limit: int | None) -> list[Case]:
    taken: dict[str, list[Case]] = {}
    for case in cases:
        taken.setdefault(case.category, []).append(case)
    return [case for of_category in taken.values() for case in of_category[:limit]]


def collect(
    prompts: Mapping[Key, Messages], endpoint: Endpoint, path: Path, settings: Mapping[str, Any]
) -> tuple[dict[Key, dict[str, Any]], dict[Key, str]]:
    """Ask for the response to every prompt that has none in the log at ``path`` yet.

    Return {case: line of the log} and, for cases without a response, {case: reason}. Raises UserError if the endpoint
    gives no responses (`ask_all`), or the log belongs to other settings.
    """
    lines: dict[Key, dict[str, Any]] = {}
    with ResponseLog(path, settings, ("benchmark", "id", "response")) as log:
        for line in log:
            lines.setdefault((line["benchmark"], line["id"]), line)

        async def ask_one(client: Any, key: Key) -> None:
            response = await ask(client, endpoint, prompts[key])
            lines[key] = {
                "benchmark": key[0],
                "id": key[1],
                "response": response.text,
                "finish_reason": response.finish_reason,
                "input_tokens": response.input_tokens,
                "output_tokens": response.output_tokens,
            }
            log.add(lines[key])

        missing = [key for key in prompts if key not in lines]
        failures = asyncio.run(ask_all(endpoint, missing, ask_one, len(prompts) - len(missing)))
    return lines, dict(failures)


def _judge(benchmark: Benchmark, cases: Sequence[Case], lines: Mapping[Key, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the benchmark's lines of results.jsonl; verdict and response are None if a case has no response."""
    own = {case.id: lines.get((benchmark.name, case.id)) for case in cases}
    readings = {
        case.id: read_response(line["response"], case.wants_reasoning) for case in cases if (line := own[case.id])
    }
    mistakes = benchmark.judge_all(readings)
    results = []
    for case in cases:
        line, mistake = own[case.id], mistakes.get(case.id)
        results.append(
            {
                "benchmark": benchmark.name,
                "id": case.id,
                "category": case.category,
                "correct": line and mistake is None,
                "error": line and (mistake.kind if mistake else ""),
                "detail": line and (mistake.detail if mistake else ""),
                "response": line and line["response"],
                "calls": line and readings[case.id].calls,
                "ground_truth": case.ground_truth,
                "finish_reason": line and line["finish_reason"],
            }
        )
    return results
