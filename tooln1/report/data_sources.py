"""The data source of a rollout: verl's dumps do not name it, so it is looked up in the parquet files of the run."""

from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.files import one_line
from tooln1.run_folder import Run

_COLUMNS = ("data_source", "prompt", "reward_model", "extra_info")
_BATCH = 2000


class DataSources:
    """Finds a rollout's data source by its ground truth, and if sources share one, by the prompt's last turn.

    `sizes` holds the number of rows of each file, and `names` the sources of the validation data in their order.
    """

    def __init__(self) -> None:
        self._turns: dict[str, dict[str, str]] = defaultdict(dict)
        self.sizes: dict[str, int] = {}
        self.names: dict[str, None] = {}

    def add(self, ground_truth: str, last_turn: str, source: str) -> None:
        """Add a row of a parquet file."""
        self._turns[ground_truth][last_turn] = source
        self.names[source] = None

    def find(self, ground_truth: str, prompt: str) -> str | None:
        """Return the source, or None for a row that is in none of the files."""
        turns = self._turns.get(ground_truth, {})
        if len(set(turns.values())) == 1:
            return next(iter(turns.values()))
        # The longest turn in the prompt: a short one may be part of another row's prompt by chance.
        held = [turn for turn in turns if turn in prompt]
        return turns[max(held, key=len)] if held else None


def read_data_sources(files: Run) -> DataSources:
    """Read the run's parquet files. A file that is missing, or not of this shape, becomes a note."""
    sources = DataSources()
    for key in () if files.is_sft else ("data.train_files", "data.val_files"):
        sources.names = {}  # the validation data are read last
        for name in files.listed(key):
            path = Path(name) if Path(name).exists() else files.folder / name
            if not path.exists():
                files.notes.append(f"{key}: {name} does not exist, so its rollouts have no data source")
                continue
            try:
                sources.sizes[name] = _read_file(path, sources)
            except (OSError, pa.ArrowException, KeyError, TypeError, AttributeError) as error:
                files.notes.append(f"{path}: not a data file of a tool-calling run ({one_line(error, 120)})")
    return sources


def _read_file(path: Path, sources: DataSources) -> int:
    """Add the rows of a file, a batch at a time, and return their number."""
    parquet = pq.ParquetFile(path)
    columns = [name for name in _COLUMNS if name in parquet.schema_arrow.names]
    for batch in parquet.iter_batches(_BATCH, columns=columns):
        for row in batch.to_pylist():
            kind = (row.get("extra_info") or {}).get("kind")
            source = str(row["data_source"]) + (f": {kind}" if kind else "")
            sources.add(str(row["reward_model"]["ground_truth"]), str(row["prompt"][-1]["content"]), source)
    return parquet.metadata.num_rows
