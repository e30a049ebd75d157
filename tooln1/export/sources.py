"""What a run folder tells about its model: settings, data, curves, evaluations."""

import json
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from omegaconf import DictConfig, OmegaConf

from tooln1.errors import UserError
from tooln1.files import read_jsonl
from tooln1.report.evaluation import Evaluation, read_evaluations
from tooln1.run_folder import REWARD, Run, RunFolder
from tooln1.train import checkpoints
from tooln1.train.metrics import read_metrics

# Where the rows of a data source come from, by the beginning of data_source.
HUB_NAMES = {"toolcall/toolace": "Team-ACE/ToolACE", "toolcall/xlam": "Salesforce/xlam-function-calling-60k"}


class RunSources:
    """A run folder of `tooln1 train` or of the quickstart. Raises UserError if it is none."""

    def __init__(self, folder: Path):
        self.folder = folder
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected that of a run")
        if not (folder / "checkpoints").is_dir():
            raise UserError(f"{folder}: no checkpoints/ in it; expected the folder of a run that has saved one")
        self.checkpoints = folder / "checkpoints"

    @cached_property
    def config(self) -> DictConfig:
        """verl's resolved configuration; empty if the run has left none."""
        for path in (self.folder / "config.yaml", self.folder / "hydra" / ".hydra" / "config.yaml"):
            if path.is_file():
                return OmegaConf.load(path)
        return OmegaConf.create({})

    def setting(self, key: str) -> Any:
        """A setting by its dotted key, None where there is none."""
        return OmegaConf.select(self.config, key)

    @property
    def method(self) -> str:
        """GRPO or SFT; empty if the run has left no configuration."""
        if not self.config:
            return ""
        return "GRPO" if "actor_rollout_ref" in self.config else "SFT"

    @property
    def base_model(self) -> str:
        """The model that the run started from, as it was named: a folder or a name on the hub."""
        return str(self.setting("model.path" if self.method == "SFT" else "actor_rollout_ref.model.path") or "")

    @property
    def record(self) -> dict[str, Any]:
        return RunFolder(self.folder).read_record()

    @property
    def train_files(self) -> list[Path]:
        files = self.setting("data.train_files") or []
        return [Path(name) for name in ([files] if isinstance(files, str) else files)]

    @cached_property
    def data_sources(self) -> dict[str, int]:
        """The rows of the training files by data_source; empty if the files are gone."""
        counts: dict[str, int] = {}
        for path in self.train_files:
            if not path.is_file() or "data_source" not in pq.read_schema(path).names:
                continue
            for found in pq.read_table(path, columns=["data_source"])["data_source"].value_counts().to_pylist():
                counts[found["values"]] = counts.get(found["values"], 0) + found["counts"]
        return counts

    @property
    def hub_data_sets(self) -> list[str]:
        found = {hub for source in self.data_sources for prefix, hub in HUB_NAMES.items() if source.startswith(prefix)}
        return sorted(found)

    @cached_property
    def stats(self) -> list[tuple[str, str]]:
        """(path, text) of every stats.json that lies beside a training file."""
        paths = dict.fromkeys(path.with_name("stats.json") for path in self.train_files)
        return [(path.parent.name, path.read_text(encoding="utf-8").strip()) for path in paths if path.is_file()]

    @cached_property
    def metrics(self) -> dict[int, dict[str, Any]]:
        """verl's metrics by step."""
        return read_metrics(self.folder / "metrics")

    @property
    def rewards(self) -> dict[int, float]:
        """The mean training reward by step."""
        return {step: data[REWARD] for step, data in self.metrics.items() if REWARD in data}

    @cached_property
    def accuracies(self) -> dict[int, float]:
        """The validation accuracy over all rows by step, from verl's dumps."""
        found = {}
        for path in (self.folder / "validation").glob("*.jsonl"):
            right = [
                line["acc"]
                for line in (one.value for one in read_jsonl(path, Counter()))
                if line.get("acc") is not None
            ]
            if path.stem.isdigit() and right:
                found[int(path.stem)] = sum(right) / len(right)
        return dict(sorted(found.items()))

    @property
    def best(self) -> dict[str, Any] | None:
        return checkpoints.read_best(self.checkpoints)

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        """What `tooln1 eval` has left in eval/."""
        paths = sorted((self.folder / "eval").glob("*/summary.json"))
        return read_evaluations(Run(self.folder, evaluations=paths))

    @property
    def base_licence(self) -> str | None:
        """The licence that the base model's own card names, if the model is a folder with a card."""
        card = Path(self.base_model) / "README.md"
        if not self.base_model or not card.is_file():
            return None
        from huggingface_hub import ModelCard

        try:
            return ModelCard.load(card, ignore_metadata_errors=True).data.license
        except (ValueError, OSError):
            return None


def pretty(value: Any) -> str:
    """A setting as it stands in a table."""
    return json.dumps(value) if isinstance(value, (dict, list)) else "–" if value is None else str(value)
