"""Which data source a rollout comes from: verl's dumps do not say, the parquet files that the run was given do."""

import hashlib
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.run_folder import Run

_COLUMNS = ("data_source", "prompt", "reward_model", "extra_info")
_BATCH = 2000


class SourceIndex:
    """Looks a rollout's source up by its reference, and where two sources share one, by the prompt's last turn."""

    def __init__(self) -> None:
        self._by_reference: dict[bytes, dict[str, str]] = defaultdict(dict)
        self.sizes: dict[str, int] = {}

    def add(self, reference: str, last_turn: str, source: str) -> None:
        self._by_reference[_digest(reference)][last_turn] = source

    def find(self, reference: str, prompt: str) -> str | None:
        """The source, or None for a row that is in none of the files."""
        turns = self._by_reference.get(_digest(reference)) if self._by_reference else None
        if not turns:
            return None
        sources = set(turns.values())
        if len(sources) == 1:
            return sources.pop()
        # The longest turn that the prompt holds: a short one may stand in another's prompt by chance.
        held = [turn for turn in turns if turn in prompt]
        return turns[max(held, key=len)] if held else None


def read_sources(files: Run) -> SourceIndex:
    """The index over the run's parquet files; a file that is not there, or not of this shape, becomes a note."""
    index = SourceIndex()
    if files.is_sft:
        return index
    for key in ("data.train_files", "data.val_files"):
        for name in files.listed(key):
            path = Path(name) if Path(name).exists() else files.folder / name
            if not path.exists():
                files.notes.append(f"{key}: {name} is not there, so its rollouts have no data source")
                continue
            try:
                index.sizes[name] = _read_file(path, index)
            except (OSError, pa.ArrowException, KeyError, TypeError, AttributeError) as error:
                why = " ".join(str(error).split())[:120]
                files.notes.append(f"{path}: not a data file of a tool-calling run ({why})")
    return index


def _read_file(path: Path, index: SourceIndex) -> int:
    """Add a file's rows, a batch at a time, and return their number."""
    parquet = pq.ParquetFile(path)
    columns = [name for name in _COLUMNS if name in parquet.schema_arrow.names]
    for batch in parquet.iter_batches(_BATCH, columns=columns):
        for row in batch.to_pylist():
            kind = (row.get("extra_info") or {}).get("kind")
            source = str(row["data_source"]) + (f": {kind}" if kind else "")
            index.add(str(row["reward_model"]["ground_truth"]), str(row["prompt"][-1]["content"]), source)
    return parquet.metadata.num_rows


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
