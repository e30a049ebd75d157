"""A run folder: where everything lies that `tooln1 train` writes, and how to find the same in any folder of verl's.

RUN_DIR/
  config.yaml     the resolved configuration          run.json      what ran, with which versions, when, how it ended
  metrics.jsonl   verl's metrics of all attempts      metrics/      the same, one file for each attempt
  rollouts/  validation/   <step>.jsonl of verl       checkpoints/  verl's global_step_<N>, and best/
  logs/  report.html  summary.json  hydra/  tensorboard/  wandb/
  eval/<name>/    output folders of `tooln1 eval`; of a run's best checkpoint eval/step_<N>/, with the model in merged/
  sft/            the run folder of the warm start    merged/       the exported model (both in the quickstart only)

`RunFolder` names these places. `find_run` also reads folders that verl's own entry points wrote: verl's file logger
(``*.jsonl`` of {"step", "data"}), tensorboard events, the dumps of ``trainer.rollout_data_dir`` and
``trainer.validation_data_dir`` (``<step>.jsonl``), Hydra's configuration, and checkpoints. It decides by content where
names do not tell.
"""

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
from tooln1.files import describe_damage, one_line, read_json, read_jsonl

REWARD = "critic/score/mean"  # verl's name for the mean reward of a step's rollouts
ACCURACY = "validation/accuracy"  # over all validation rows; the trainer of this package logs it
STEP_SECONDS = "timing_s/step"
ORIGIN = "exported_from.txt"  # in an exported model: a digest that changes with the checkpoint
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
        self.merged = self.path / "merged"

    @property
    def warm_start(self) -> "RunFolder":
        """The run folder of the SFT run that came before."""
        return RunFolder(self.path / "sft")

    def read_record(self) -> dict[str, Any]:
        """Return run.json, or {} if there is none. Raises UserError if the file is something else."""
        if not self.record.exists():
            return {}
        try:
            record = read_json(self.record)
        except UserError:
            record = None
        if not isinstance(record, dict):
            raise UserError(f"{self.record}: not the record of a run; remove it, or choose another run folder")
        return record

    def validated_steps(self) -> list[int]:
        """Return the steps that have a validation dump, in order. A killed run can leave an empty dump."""
        return sorted(step for step, path in _dumps(self.validation).items() if path.stat().st_size)


def checkpoint_folder(checkpoints: Path, step: int) -> Path:
    """Return where verl keeps the checkpoint of a step."""
    return checkpoints / f"global_step_{step}"


def checkpoint_step(folder: Path) -> int | None:
    """Return the step of a checkpoint's folder, None for a folder of another name."""
    match = _STEP_FOLDER.fullmatch(folder.name)
    return int(match[1]) if match else None


def checkpoint_steps(checkpoints: Path) -> list[int]:
    """Return the steps that have a checkpoint folder, complete or not, in order."""
    folders = (path for path in checkpoints.iterdir() if path.is_dir()) if checkpoints.is_dir() else ()
    return sorted(step for step in map(checkpoint_step, folders) if step is not None)


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


def _dumps(folder: Path) -> dict[int, Path]:
    """Return {step: path} of verl's dumps in a folder, in order."""
    return dict(sorted((int(path.stem), path) for path in folder.glob("*.jsonl") if path.stem.isdecimal()))


EXPECTED = "expected verl's file logger (*.jsonl with step and data), tensorboard events, or rollouts (<step>.jsonl)"
# Models and checkpoints hold no logs. Hidden folders belong to other programs, except Hydra's.
_SKIPPED = ("global_step_", "__pycache__", "merged", "node_modules")
_DEEPEST, _MOST_FOLDERS = 6, 5000


@dataclass
class Run:
    """The files of one run; a part that is missing is empty or None. `hydra` is the folder of Hydra's own record."""

    folder: Path
    metrics: list[Path] = field(default_factory=list)
    events: list[Path] = field(default_factory=list)
    rollouts: dict[int, Path] = field(default_factory=dict)
    validation: dict[int, Path] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    hydra: Path | None = None
    evaluations: list[Path] = field(default_factory=list)
    checkpoints: Path | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_sft(self) -> bool:
        """Whether verl's SFT trainer wrote the run; such a run has no rollouts."""
        return bool(self.config) and "actor_rollout_ref" not in self.config

    @property
    def model(self) -> str:
        """The model that the run started from: a folder or a name on the hub; empty if unknown."""
        return str(self.setting("model.path" if self.is_sft else "actor_rollout_ref.model.path", ""))

    @property
    def data(self) -> list[Path]:
        """The files that grow during the run."""
        return [*self.metrics, *self.events, *self.rollouts.values(), *self.validation.values()]

    def setting(self, key: str, default: Any = None) -> Any:
        """Return the value of a dotted key of the configuration, or the default if there is none."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return default if value is None else value

    def listed(self, key: str) -> list[str]:
        """Return the value of a dotted key that holds one name or a list of names."""
        value = self.setting(key, [])
        return list(map(str, value)) if isinstance(value, list) else [str(value)]


def find_run(path: Path) -> Run:
    """Find the files of a run in a folder, or take one metrics file.

    Raises:
        UserError: there is no such folder, or the folder holds nothing of a verl run.
    """
    path = path.resolve()  # the configuration may name the same folders by absolute paths
    if path.is_file():
        if not _is_metrics(path):
            raise UserError(f"{path}: not a metrics file of verl; {EXPECTED}")
        return Run(path.parent, metrics=[path])
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give the folder of a run")
    run, configs, dumps = Run(path), [], set()
    for found in _walk(run):
        if found.suffix == ".jsonl" and found.stem.isdecimal():
            dumps.add(found.parent)
        elif found.suffix == ".jsonl" and _is_metrics(found):
            run.metrics.append(found)
        elif ".tfevents." in found.name:
            run.events.append(found)
        elif found.name == "config.yaml" and (found.parent == path or found.parent.name == ".hydra"):
            configs.append(found)
        elif found.name == "summary.json" and found.parent.parent.name == "eval":
            run.evaluations.append(found)
        elif found.name == TRACKER and run.checkpoints is None:
            run.checkpoints = found.parent
    _read_config(run, configs)
    _choose_dumps(run, dumps)
    _choose_metrics(run)
    if not run.data:
        raise UserError(f"{path}: nothing of a verl run in it; {EXPECTED}")
    return run


def _walk(run: Run) -> Iterator[Path]:
    """Yield the files of the run's folder and of the folders below it, in the order of their names."""
    for visited, (folder, below, names) in enumerate(os.walk(run.folder), 1):
        if visited > _MOST_FOLDERS:
            run.notes.append(f"{run.folder}: only the first {_MOST_FOLDERS:,} folders in it were searched")
            return
        is_deepest = len(Path(folder).relative_to(run.folder).parts) >= _DEEPEST
        kept = (name for name in below if name == ".hydra" or not name.startswith((".", *_SKIPPED)))
        below[:] = [] if is_deepest else sorted(kept)
        yield from (Path(folder) / name for name in sorted(names))


def _is_metrics(path: Path) -> bool:
    try:
        first = next(read_jsonl(path, Counter()), None)
    except UserError:
        return False
    return first is not None and isinstance(first.value.get("data"), dict) and isinstance(first.value.get("step"), int)


def _read_config(run: Run, paths: list[Path]) -> None:
    """Take the folder's own configuration, else the newest; a configuration of the SFT trainer comes last."""
    loaded = {path: _load_config(path, run.notes) for path in paths}
    usable = [path for path, config in loaded.items() if OmegaConf.is_dict(config) and "trainer" in config]
    usable.sort(
        key=lambda path: ("actor_rollout_ref" in loaded[path], path.parent == run.folder, path.stat().st_mtime),
        reverse=True,
    )
    if not usable:
        return
    try:
        run.config = OmegaConf.to_container(loaded[usable[0]], resolve=True, throw_on_missing=False)
    except OmegaConfBaseException:  # an unknown resolver: the unresolved text still says something
        run.config = OmegaConf.to_container(loaded[usable[0]], resolve=False)
    records = (path.parent for path in usable if ("actor_rollout_ref" in loaded[path]) != run.is_sft)
    run.hydra = next((folder for folder in records if folder.name == ".hydra"), None)


def _load_config(path: Path, notes: list[str]) -> Any:
    try:
        return OmegaConf.load(path)
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        notes.append(f"{path}: cannot be read as a configuration ({one_line(error)})")
        return None


def _choose_dumps(run: Run, folders: set[Path]) -> None:
    """Decide which folder of dumps holds rollouts and which holds validation: by the configuration, else by name."""
    named = {
        "rollouts": Path(str(run.setting("trainer.rollout_data_dir", ""))),
        "validation": Path(str(run.setting("trainer.validation_data_dir", ""))),
    }
    found: dict[str, list[Path]] = {"rollouts": [], "validation": []}
    for folder in sorted(folders):
        kinds = [kind for kind, path in named.items() if path.name == folder.name]
        if len(kinds) != 1:
            kinds = ["validation" if re.search("val|test", folder.name.lower()) else "rollouts"]
        found[kinds[0]].append(folder)
    for kind, candidates in found.items():
        candidates.sort(key=lambda one: (one.name == named[kind].name, len(_dumps(one))), reverse=True)
        # The folder's own dumps come first: the configuration of a copied run names the dumps of the original.
        if not candidates and named[kind].name:
            candidates = [named[kind]]
        setattr(run, kind, _dumps(candidates[0]) if candidates else {})
        run.notes += [f"{other}: another folder of {kind} dumps, left out" for other in candidates[1:]]


def _choose_metrics(run: Run) -> None:
    """Keep the metrics of one experiment; several files are one experiment only as attempts and warm start."""
    folder = RunFolder(run.folder)
    own = [(one.metrics, one.attempts) for one in (folder, folder.warm_start)]
    others = [path for path in run.metrics if not any(path == file or path.parent == below for file, below in own)]
    if len(others) <= 1:
        return
    newest = max(others, key=lambda path: path.stat().st_mtime)
    chosen = next((path for path in others if path.stem == run.setting("trainer.experiment_name")), newest)
    for path in others:
        if path != chosen:
            run.metrics.remove(path)
            run.notes.append(f"{path}: metrics of another experiment, left out; give its path to see them")


def read_scalars(run: Run) -> Scalars:
    """Return {metric: {step: value}} with steps in order; missing or damaged parts are added to the run's notes.

    Each process of verl starts the file logger's file over, so tensorboard's events fill what the file lost. If a step
    ran twice, the later value counts.
    """
    scalars: Scalars = defaultdict(dict)
    for path in run.events:
        _read_events(path, scalars, run.notes)
    for path in run.metrics:
        damage: Counter[str] = Counter()
        for line in read_jsonl(path, damage):
            step, data = line.value.get("step"), line.value.get("data")
            if isinstance(step, int) and isinstance(data, dict):
                for name, value in data.items():
                    if isinstance(value, int | float) and math.isfinite(value):
                        scalars[str(name)][step] = float(value)
        run.notes += describe_damage(path, damage)
    return {name: dict(sorted(steps.items())) for name, steps in sorted(scalars.items())}


def _read_events(path: Path, scalars: Scalars, notes: list[str]) -> None:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        notes.append(f"{path.name}: not read, tensorboard is not installed; pip install tensorboard")
        return
    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    try:
        events.Reload()
    except Exception as error:  # the errors of tensorboard's record reader and of protobuf have no common class
        notes.append(f"{path.name}: tensorboard cannot read it to its end ({one_line(error)})")
    for name in events.Tags()["scalars"]:
        scalars[name] |= {one.step: float(one.value) for one in events.Scalars(name) if math.isfinite(one.value)}
