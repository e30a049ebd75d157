"""Running a benchmark's own code in a process of its own: JSON goes in, JSON comes out."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.files import one_line, read_json


def run_bridge(
    command: Sequence[Any],
    argument: Any,
    log: Path,
    hint: str,
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Any:
    """Run a script with the paths of an input and an output file as its last arguments, and return the output.

    Args:
        log: the file for what the script prints.
        hint: ends the message of the error.
        variables: added to the environment, which has no variable of this Python.
        folder: where the script runs.

    Raises:
        UserError: the script fails; the message holds the last line that it printed.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"PYTHONUTF8": "1", **(variables or {})}
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, log.open("wb") as output:
        source, target = Path(scratch) / "in.json", Path(scratch) / "out.json"
        source.write_text(json.dumps(argument), encoding="utf-8")
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
        done = subprocess.run([*command, source, target], env=environment, cwd=folder, **streams)
        if done.returncode == 0:
            return read_json(target)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    cause = one_line(lines[-1]) if lines else f"exit code {done.returncode}"
    raise UserError(f"{command[0]} fails: {cause} (see {log}); {hint}")
