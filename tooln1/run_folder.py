"""A run folder: where everything lies in one that `tooln1 train` wrote, and finding the same in any folder of verl's.

RUN_DIR/
  config.yaml     the resolved configuration          run.json      what ran, with which versions, when, how it ended
  metrics.jsonl   verl's metrics of all attempts      metrics/      the same, one file for each attempt
  rollouts/  validation/   <step>.jsonl of verl       checkpoints/  verl's global_step_<N>, and best/
  logs/  report.html  summary.json  eval/*/summary.json  hydra/  tensorboard/  wandb/

`RunFolder` names these places. `find_run` also reads folders that verl's own entry points wrote: it knows verl's file
logger (``*.jsonl`` of {"step", "data"}), tensorboard events, the dumps of ``trainer.rollout_data_dir`` and
``trainer.validation_data_dir`` (``<step>.jsonl``), Hydra's configuration and checkpoints, and decides by content where
names do not tell.
"""

import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tooln1.errors import UserError
from tooln1.files import describe_damage, read_jsonl

REWARD = "critic/score/mean"  # verl's name for the mean reward of a step's rollouts
STEP_SECONDS = "timing_s/step"
TRACKER = "latest_checkpointed_iteration.txt"
_STEP_FOLDER = re.compile(r"global_step_(\d+)")
_SHARD = re.compile(r"\w+_world_size_(\d+)_rank_\d+\.pt")

Scalars = dict[str, dict[int, float]]  # {metric: {step: value}}


class RunFolder:
    """The places of a run that `tooln1 train` writes. They need not exist."""

    def __init__(self, path: str | Path):
        self.path = Path(path).resolve()
        self.config = self.path / "config.yaml"
        self.record = self.path / "run.json"
        self.metrics = self.path / "metrics.jsonl"
        self.attempts = self.path / "metrics"
        self.rollouts = self.path / "rollouts"
        self.validation = self.path / "validation"
        self.checkpoints = self.path / "checkpoints"
        self.evaluations = self.path / "eval"
        self.log = self.path / "logs" / "train.log"
        self.report = self.path / "report.html"
        self.summary = self.path / "summary.json"
        self.hydra = self.path / "hydra"

    def read_record(self) -> dict[str, Any]:
        """Return run.json, or {} if there is none. Raises UserError if the file is something else."""
        if not self.record.exists():
            return {}
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise UserError(f"{self.record}: not the record of a run; remove it, or choose another run folder")
        return record

    def validated_steps(self) -> list[int]:
        """Return the steps that have a validation dump, in order; an empty dump is of a run that was killed."""
        return sorted(
            int(path.stem) for path in self.validation.glob("*.jsonl") if path.stem.isdigit() and path.stat().st_size
        )


def checkpoint_folder(checkpoints: Path, step: int) -> Path:
    """Return where verl keeps the checkpoint of a step."""
    return checkpoints / f"global_step_{step}"


def checkpoint_steps(checkpoints: Path) -> list[int]:
    """Return the steps that have a checkpoint folder, complete or not, in order."""
    if not checkpoints.is_dir():
        return []
    found = (_STEP_FOLDER.fullmatch(path.name) for path in checkpoints.iterdir() if path.is_dir())
    return sorted(int(match[1]) for match in found if match)


def tracked_step(checkpoints: Path) -> int | None:
    """Return the step that verl's tracker file names, None if there is no such file or no number in it."""
    try:
        text = (checkpoints / TRACKER).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isascii() and text.isdigit() else None


def checkpoint_ranks(folder: Path) -> int | None:
    """Return how many ranks wrote a checkpoint, None if its files do not tell."""
    ranks = {int(match[1]) for path in folder.rglob("*.pt") if (match := _SHARD.fullmatch(path.name))}
    return ranks.pop() if len(ranks) == 1 else None


EXPECTED = (
    "expected are verl's file logger (*.jsonl with step and data), tensorboard events, or rollout dumps (<step>.jsonl)"
)
# Models and checkpoints hold no logs; hidden folders are other programs', except Hydra's.
_PASSED_OVER = ("global_step_", "__pycache__", "merged", "node_modules")
_DEEPEST, _MOST_FOLDERS = 6, 5000


@dataclass
class Run:
    """Where the parts of one run lie; what is not there is empty or None.

    ``config`` has its interpolations resolved; ``as_written`` is Hydra's own record, in which they stand.
    """

    folder: Path
    metrics: list[Path] = field(default_factory=list)
    events: list[Path] = field(default_factory=list)
    rollouts: dict[int, Path] = field(default_factory=dict)
    validation: dict[int, Path] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    as_written: dict[str, Any] = field(default_factory=dict)
    hydra: Path | None = None
    evaluations: list[Path] = field(default_factory=list)
    checkpoints: Path | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_sft(self) -> bool:
        """Whether the run is one of verl's SFT trainer, which has no rollouts."""
        return bool(self.config) and "actor_rollout_ref" not in self.config

    def listed(self, key: str) -> list[str]:
        """The configuration's value under a dotted key that holds one name or a list of them."""
        value = self.setting(key, [])
        return list(map(str, value)) if isinstance(value, list) else [str(value)]

    @property
    def data(self) -> list[Path]:
        """The files that grow while the run goes on."""
        return [*self.metrics, *self.events, *self.rollouts.values(), *self.validation.values()]

    def setting(self, key: str, default: Any = None) -> Any:
        """The configuration's value under a dotted key, or the default where there is none."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return default if value is None else value


def find_run(path: Path) -> Run:
    """Look through a run folder, or take one metrics file.

    Raises:
        UserError: there is no such folder, or nothing of a verl run in it.
    """
    path = path.resolve()  # the configuration may name the same folders from the root on
    if path.is_file():
        if not _is_metrics(path):
            raise UserError(f"{path}: not a metrics file of verl; {EXPECTED}")
        return Run(path.parent, metrics=[path])
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give a run's folder")
    files, dumps = Run(path), defaultdict(dict)
    configs: list[Path] = []
    for found in _walk(path, files.notes):
        _sort_in(found, files, dumps, configs)
    _read_config(files, configs)
    _choose_dumps(files, dumps)
    _choose_metrics(files)
    if not files.data:
        raise UserError(f"{path}: nothing of a verl run in it; {EXPECTED}")
    return files


def _walk(top: Path, notes: list[str]) -> Iterator[Path]:
    """The files of a folder and of those below it, in the order of their names."""
    for visited, (folder, below, names) in enumerate(os.walk(top), 1):
        if visited > _MOST_FOLDERS:
            notes.append(f"{top}: more than {_MOST_FOLDERS:,} folders; only these were looked through")
            return
        deep = len(Path(folder).relative_to(top).parts) >= _DEEPEST
        below[:] = [] if deep else sorted(name for name in below if _is_worth(name))
        yield from (Path(folder) / name for name in sorted(names))


def _is_worth(name: str) -> bool:
    return name == ".hydra" or not name.startswith((".", *_PASSED_OVER))


def _sort_in(found: Path, files: Run, dumps: dict[Path, dict[int, Path]], configs: list[Path]) -> None:
    if found.suffix == ".jsonl" and found.stem.isdecimal():
        dumps[found.parent][int(found.stem)] = found
    elif found.suffix == ".jsonl" and _is_metrics(found):
        files.metrics.append(found)
    elif ".tfevents." in found.name:
        files.events.append(found)
    elif found.name == "config.yaml" and (found.parent == files.folder or found.parent.name == ".hydra"):
        configs.append(found)
    elif found.name == "summary.json" and found.parent.parent.name == "eval":
        files.evaluations.append(found)
    elif found.name == TRACKER:
        files.checkpoints = found.parent


def _is_metrics(path: Path) -> bool:
    try:
        first = next(read_jsonl(path, Counter()), None)
    except UserError:
        return False
    return first is not None and isinstance(first.value.get("data"), dict) and isinstance(first.value.get("step"), int)


def _read_config(files: Run, configs: list[Path]) -> None:
    """The configuration of the folder, else the newest; one of verl's SFT trainer, as of a warm start, comes last."""
    loaded = {path: _load_config(path, files.notes) for path in configs}
    usable = [path for path, config in loaded.items() if OmegaConf.is_dict(config) and "trainer" in config]
    usable.sort(
        key=lambda path: ("actor_rollout_ref" in loaded[path], path.parent == files.folder, path.stat().st_mtime),
        reverse=True,
    )
    if not usable:
        return
    files.config = _resolved(loaded[usable[0]])
    for path in usable:
        if path.parent.name == ".hydra" and ("actor_rollout_ref" in loaded[path]) != files.is_sft:
            files.hydra, files.as_written = path.parent, OmegaConf.to_container(loaded[path], resolve=False)
            return


def _load_config(path: Path, notes: list[str]) -> Any:
    try:
        return OmegaConf.load(path)
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        notes.append(f"{path}: cannot be read as a configuration ({' '.join(str(error).split())[:200]})")
        return None


def _resolved(config: Any) -> dict[str, Any]:
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException:  # a resolver that is not registered here: the text itself is still telling
        return OmegaConf.to_container(config, resolve=False)


def _choose_dumps(files: Run, dumps: dict[Path, dict[int, Path]]) -> None:
    """Which folder of dumps holds the rollouts and which the validation; the configuration decides, else the name."""
    found: dict[str, list[Path]] = {"rollouts": [], "validation": []}
    named = {kind: Path(str(files.setting(f"trainer.{key}_data_dir", ""))) for kind, key in _DUMP_KEYS.items()}
    for folder in dumps:
        by_config = [kind for kind, path in named.items() if path.name == folder.name]
        found[by_config[0] if len(by_config) == 1 else _kind_of(folder)].append(folder)
    for kind, folders in found.items():
        folders.sort(key=lambda one: (one.name == named[kind].name, len(dumps[one])), reverse=True)
        if folders:
            setattr(files, kind, dict(sorted(dumps[folders[0]].items())))
        elif named[kind].name:
            # They may lie elsewhere than the rest of the run. Its own come first: a copied run names the original's.
            steps = {int(one.stem): one for one in named[kind].glob("*.jsonl") if one.stem.isdecimal()}
            setattr(files, kind, dict(sorted(steps.items())))
        for other in folders[1:]:
            files.notes.append(f"{other}: a further folder of {kind} dumps, left out")


_DUMP_KEYS = {"rollouts": "rollout", "validation": "validation"}


def _kind_of(folder: Path) -> str:
    return "validation" if "val" in folder.name.lower() or "test" in folder.name.lower() else "rollouts"


def _choose_metrics(files: Run) -> None:
    """The metrics files of one experiment: those of one folder belong together only as attempts or warm start."""
    experiment = files.setting("trainer.experiment_name")
    others = [path for path in files.metrics if not _belongs(path, files)]
    if len(others) <= 1:
        return
    newest = max(others, key=lambda path: path.stat().st_mtime)
    chosen = next((path for path in others if path.stem == experiment), newest)
    for path in others:
        if path != chosen:
            files.metrics.remove(path)
            files.notes.append(f"{path}: metrics of another experiment, left out; give its path to see it")


def _belongs(path: Path, files: Run) -> bool:
    return path.parent == files.folder / "metrics" or path == files.folder / "metrics.jsonl"


def read_scalars(run: Run) -> Scalars:
    """{metric: {step: value}} with steps in order. What is missing or damaged is added to the run's notes.

    verl's file logger starts its file anew with every process, so tensorboard's events fill what it lost; of a step
    that was trained twice, the later value counts.
    """
    scalars: Scalars = {}
    for path in run.events:
        _read_events(path, scalars, run.notes)
    for path in run.metrics:
        damage: Counter[str] = Counter()
        for line in read_jsonl(path, damage):
            step, data = line.value.get("step"), line.value.get("data")
            if isinstance(step, int) and isinstance(data, dict):
                for name, value in data.items():
                    _keep(scalars, str(name), step, value)
        run.notes += describe_damage(path, damage)
    return {name: dict(sorted(steps.items())) for name, steps in sorted(scalars.items())}


def _keep(scalars: Scalars, name: str, step: int, value: object) -> None:
    if isinstance(value, int | float) and math.isfinite(value):
        scalars.setdefault(name, {})[step] = float(value)


def _read_events(path: Path, scalars: Scalars, notes: list[str]) -> None:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        notes.append(f"{path.name}: not read, tensorboard is not installed; pip install tensorboard")
        return
    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    try:
        events.Reload()
    except Exception as error:  # tensorboard raises what its record reader and protobuf raise
        notes.append(f"{path.name}: tensorboard cannot read it to its end ({' '.join(str(error).split())[:200]})")
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            _keep(scalars, name, event.step, event.value)
