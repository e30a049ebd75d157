"""Everything the report says about a run, gathered once and then written as a page, a text or figures."""

import math
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tooln1.report.evaluation import Evaluation, read_evaluations
from tooln1.report.facts import Facts, gather_facts
from tooln1.report.scan import ScanSettings, StepScan, scan_dump
from tooln1.report.sources import SourceIndex, read_sources
from tooln1.reward_score import REWARDS, reward_name
from tooln1.run_folder import Run, Scalars, find_run, read_scalars

# Below this many bytes of dumps, processes of their own would take longer to start than they save.
_WORTH_PROCESSES = 100_000_000
_VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class ReportSettings:
    """What a user can choose: how many rollouts the page shows at most, and the seed they are drawn with."""

    rollouts: int = 8000
    seed: int = 0


@dataclass
class RunData:
    """One run: its files, metrics, scanned dumps by step, evaluations and the facts of its summary."""

    name: str
    files: Run
    scalars: Scalars
    rollouts: dict[int, StepScan] = field(default_factory=dict)
    validation: dict[int, StepScan] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    facts: Facts | None = None

    @property
    def notes(self) -> list[str]:
        """What is missing or damaged, in the order in which it was found."""
        scans = [*self.rollouts.values(), *self.validation.values()]
        return [*self.files.notes, *(note for scan in scans for note in scan.notes)]


# Dumps that were scanned before, by path, size, time and settings: with --watch only the new ones are read.
ScanCache = dict[tuple[Any, ...], StepScan]


def load_runs(paths: Sequence[Path], settings: ReportSettings, cache: ScanCache | None = None) -> list[RunData]:
    """Read all runs.

    Raises:
        UserError: a path is no run; the message says what was expected there.
    """
    files = [find_run(path) for path in paths]
    names = _names(list(paths))
    cache = {} if cache is None else cache
    share = settings.rollouts // len(files)
    return [_load(one, name, share, settings.seed, cache) for one, name in zip(files, names, strict=True)]


def _names(paths: list[Path]) -> list[str]:
    """The shortest ends of the paths that tell the runs apart."""
    parts = [path.resolve().with_suffix("").parts if path.is_file() else path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{Path(*one).name} ({number})" for number, one in enumerate(parts, 1)]


def _load(files: Run, name: str, rollouts: int, seed: int, cache: ScanCache) -> RunData:
    scalars = read_scalars(files)
    sources = read_sources(files)
    run = RunData(name, files, scalars)
    validated = _VALIDATION_SHARE if files.validation else 0.0
    plans = {
        "rollouts": _plan(files, files.rollouts, rollouts * (1 - validated), seed),
        "validation": _plan(files, files.validation, rollouts * validated, seed),
    }
    jobs = [
        (kind, path, step, plan[step]) for kind, plan in plans.items() for step, path in getattr(files, kind).items()
    ]
    for kind, scan in _scan_all(jobs, sources, cache, name):
        getattr(run, kind)[scan.step] = scan
    for kind in plans:
        setattr(run, kind, dict(sorted(getattr(run, kind).items())))
    run.evaluations = read_evaluations(files)
    run.facts = gather_facts(run, sources)
    return run


def _plan(files: Run, dumps: dict[int, Path], rollouts: float, seed: int) -> dict[int, ScanSettings]:
    """How each dump is scanned: groups are shown evenly over the steps, of fewer steps if they are many."""
    validation = dumps is files.validation
    key, default = ("val_kwargs.n", 1) if validation else ("n", 5)
    size = files.setting(f"actor_rollout_ref.rollout.{key}", default)
    size = size if isinstance(size, int) and size > 0 else default
    groups = int(rollouts / size / max(1, len(dumps)))
    every = 1 if groups else math.ceil(len(dumps) * size / max(1.0, rollouts))
    kwargs = files.setting("reward.custom_reward_function.reward_kwargs", {})
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    reward = reward_name(files.setting("reward.custom_reward_function.path", REWARDS["strict"]))
    plain = {
        "reward": reward or "strict",
        "compares": reward is not None and kwargs.get("variant") != "binary_no_reason",
        "grpo": files.setting("algorithm.adv_estimator", "grpo") == "grpo" and not validation,
        "by_std": bool(files.setting("algorithm.norm_adv_by_std_in_grpo", True)),
        "seed": seed,
    }
    shown = {step: max(1, groups) if index % every == 0 else 0 for index, step in enumerate(dumps)}
    return {step: ScanSettings(groups=count, **plain) for step, count in shown.items()}


def _scan_all(jobs: list[tuple], sources: SourceIndex, cache: ScanCache, name: str):
    """Yield (kind, scan) of every dump, in no order; large dumps are read by as many processes as there are cores."""
    sizes = {job: job[1].stat() for job in jobs}
    keys = {job: (str(job[1]), stat.st_size, stat.st_mtime_ns, job[3]) for job, stat in sizes.items()}
    todo = [job for job in jobs if keys[job] not in cache]
    total = sum(sizes[job].st_size for job in todo)
    with tqdm(total=total, desc=f"reading {name}", unit="B", unit_scale=True, disable=None, leave=False) as bar:
        for job, scan in _scan(todo, sources, total):
            cache[keys[job]] = scan
            bar.update(sizes[job].st_size)
    for job in jobs:
        yield job[0], cache[keys[job]]


def _scan(jobs: list[tuple], sources: SourceIndex, total: int):
    if total < _WORTH_PROCESSES or (os.cpu_count() or 1) < 2:
        yield from ((job, scan_dump(*job[1:], sources)) for job in jobs)
        return
    # Spawned: a driver that calls this has threads, which a fork would copy in whatever state they are.
    context = multiprocessing.get_context("spawn")
    workers = min(os.cpu_count() or 1, len(jobs), 8)
    with ProcessPoolExecutor(workers, context, _set_sources, (sources,)) as pool:
        waiting = {pool.submit(_scan_one, *job[1:]): job for job in jobs}
        for done in as_completed(waiting):
            yield waiting.pop(done), done.result()


_sources = SourceIndex()


def _set_sources(sources: SourceIndex) -> None:
    global _sources
    _sources = sources


def _scan_one(path: Path, step: int, settings: ScanSettings) -> StepScan:
    return scan_dump(path, step, settings, _sources)
