"""Everything that the report reads of a run: its metrics, all of its dumps, its evaluations and its record."""

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tooln1.config import plain
from tooln1.errors import UserError
from tooln1.files import read_json
from tooln1.report.changed_settings import Change
from tooln1.report.data_sources import DataSources, read_data_sources
from tooln1.report.dumps import Dump, DumpSettings, read_dump
from tooln1.report.evaluation import Evaluation, read_evaluations
from tooln1.reward_score import REWARDS, reward_name
from tooln1.run_folder import ACCURACY, REWARD, Run, RunFolder, Scalars, find_run, read_scalars

SFT_LOSS = "train/loss"  # of verl's SFT trainer
ROLLOUTS = 8000  # shown at most
_VALIDATION_SHARE = 0.2
_SOURCE_ACCURACY = re.compile(r"val-core/(?P<source>.+)/(acc|reward)/mean@\d+")

Steps = dict[int, float]


@dataclass
class RunData:
    """One run, read.

    `rows` counts the rows of its data files; `sources` names those of the validation data in their order; `record` is
    run.json with what completes it.
    """

    name: str
    files: Run
    scalars: Scalars
    rows: dict[str, int] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    rollouts: dict[int, Dump] = field(default_factory=dict)
    validation: dict[int, Dump] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def dumps(self) -> list[Dump]:
        """The dumps of training, then those of validation."""
        return [*self.rollouts.values(), *self.validation.values()]

    @cached_property
    def reward(self) -> Steps:
        """The mean reward by step, from verl's metrics, else from the dumps."""
        logged = next((self.scalars[name] for name in (REWARD, "critic/rewards/mean") if name in self.scalars), {})
        return logged or {step: dump.mean_score for step, dump in self.rollouts.items() if dump.mean_score is not None}

    @cached_property
    def accuracy_by_source(self) -> dict[str, Steps]:
        """The validation accuracy by source and step: verl's, or that of the dumps if they have more sources."""
        logged: dict[str, Steps] = defaultdict(dict)
        for name, steps in self.scalars.items():
            if match := _SOURCE_ACCURACY.fullmatch(name):
                logged[match["source"]] |= steps
        dumped: dict[str, Steps] = defaultdict(dict)
        for step, dump in self.validation.items():
            for source, (count, right) in dump.by_source.items():
                dumped[source][step] = right / count
        found = dumped if len(dumped) > len(logged) else logged
        order = [name for name in self.sources if name in found]
        return {name: found[name] for name in [*order, *(name for name in found if name not in order)]}

    @cached_property
    def accuracy(self) -> Steps:
        """The validation accuracy over all rows by step; if it is known by source only, the mean of the sources."""
        values = defaultdict(list)
        for steps in self.accuracy_by_source.values():
            for step, value in steps.items():
                values[step].append(value)
        means = {step: statistics.fmean(of_sources) for step, of_sources in values.items()}
        dumped = {step: dump.accuracy for step, dump in self.validation.items() if dump.accuracy is not None}
        return dict(sorted((means | self.scalars.get(ACCURACY, {}) | dumped).items()))

    @property
    def steps(self) -> int:
        """The last step of the run."""
        return max([0, *self.reward, *self.rollouts]) or max([0, *self.scalars.get(SFT_LOSS, {})])

    @cached_property
    def changes(self) -> dict[int, list[Change]]:
        """What was changed in the definition of the run, by the step after which it holds (run.json)."""
        noted = self.record.get("changes")
        found: dict[int, list[Change]] = defaultdict(list)
        for one in noted if isinstance(noted, list) else ():
            if isinstance(one, dict) and isinstance(one.get("step"), int):
                found[one["step"]].append((str(one.get("key")), plain(one.get("old")), plain(one.get("new"))))
        return dict(sorted(found.items()))

    @property
    def planned(self) -> int | None:
        """The number of steps that the configuration asks for, if it says so."""
        steps = self.files.setting("trainer.total_training_steps")
        return steps if isinstance(steps, int) else None


# Dumps that were read before, by path, size, time and settings: with --watch only new ones are read.
DumpCache = dict[tuple[Any, ...], Dump]


def load_runs(
    paths: Sequence[Path], rollouts: int = ROLLOUTS, seed: int = 0, cache: DumpCache | None = None
) -> list[RunData]:
    """Read all runs.

    Args:
        paths: run folders, or metrics files of verl's file logger.
        rollouts: how many rollouts are shown at most, over all runs.
        seed: decides which rollouts are shown.
        cache: holds the dumps that were read before.

    Raises:
        UserError: a path is no run; the message says what was expected there.
    """
    found = [find_run(path) for path in paths]
    cache, most = {} if cache is None else cache, rollouts // len(found)
    return [_load(name, files, most, seed, cache) for name, files in zip(_names(paths), found, strict=True)]


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that tell the runs apart."""
    parts = [path.resolve().with_suffix("").parts if path.is_file() else path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{Path(*one).name} ({number})" for number, one in enumerate(parts, 1)]


def _load(name: str, files: Run, most: int, seed: int, cache: DumpCache) -> RunData:
    scalars, sources = read_scalars(files), read_data_sources(files)
    validated = _VALIDATION_SHARE if files.validation else 0.0
    return RunData(
        name,
        files,
        scalars,
        rows=sources.sizes,
        sources=list(sources.names),
        rollouts=_read_dumps(files, files.rollouts, most * (1 - validated), seed, sources, cache),
        validation=_read_dumps(files, files.validation, most * validated, seed, sources, cache),
        evaluations=read_evaluations(files),
        record=_read_record(files),
    )


def _read_dumps(
    files: Run, paths: dict[int, Path], most: float, seed: int, sources: DataSources, cache: DumpCache
) -> dict[int, Dump]:
    """Read dumps, and show at most about `most` of their rollouts: evenly over the steps, or over some steps if few."""
    validation = paths is files.validation
    size = files.setting(f"actor_rollout_ref.rollout.{'val_kwargs.n' if validation else 'n'}")
    size = size if isinstance(size, int) and size > 0 else 1 if validation else 5
    groups = int(most / size / max(1, len(paths)))
    every = 1 if groups else math.ceil(len(paths) * size / max(1.0, most))
    settings = DumpSettings(
        reward=find_reward(files) or "strict",
        grpo=files.setting("algorithm.adv_estimator", "grpo") == "grpo" and not validation,
        by_std=bool(files.setting("algorithm.norm_adv_by_std_in_grpo", True)),
        seed=seed,
    )
    dumps, stats = {}, {path: path.stat() for path in paths.values()}
    total = sum(stat.st_size for stat in stats.values())
    with tqdm(total=total, desc="reading", unit="B", unit_scale=True, disable=None, leave=False) as bar:
        for index, (step, path) in enumerate(paths.items()):
            of_step = replace(settings, groups=0 if index % every else max(1, groups))
            key = (path, stats[path].st_size, stats[path].st_mtime_ns, of_step)
            if key not in cache:
                cache[key] = read_dump(path, of_step, sources)
            dumps[step] = cache[key]
            bar.update(stats[path].st_size)
    return dumps


def find_reward(files: Run) -> str | None:
    """Return the reward of a run, strict or paper, or None for a reward that is not this package's."""
    return reward_name(files.setting("reward.custom_reward_function.path", REWARDS["strict"]))


def _read_record(files: Run) -> dict[str, Any]:
    """Read run.json, with the times of summary.json and the larger memory of run and warm start."""
    folder = RunFolder(files.folder)
    paths = (folder.record, folder.summary, folder.warm_start.record)
    record, summary, warm_start = (_read_object(path, files.notes) for path in paths)
    peaks = [one["peak_memory_gb"] for one in (record, summary, warm_start) if is_number(one.get("peak_memory_gb"))]
    return record | {"wall_seconds": summary.get("wall_seconds"), "peak_memory_gb": max(peaks, default=None)}


def _read_object(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        value = read_json(path) if path.is_file() else {}
    except UserError as error:
        notes.append(str(error))
        return {}
    return value if isinstance(value, dict) else {}


def is_number(value: Any) -> bool:
    """Whether a value from JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
