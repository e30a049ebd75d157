"""A benchmark's own code in a process of its own, which answers one line of JSON with another."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.files import one_line


class Bridge:
    """Starts with the first request, and ends with `close` or this process.

    Args:
        command: a script that reads [name, argument] from each line of its input and writes the answer to its output.
        log: the file for everything else that the script prints.
        hint: ends the message of an error.
        variables: added to the environment, which has no variable of this Python.
        folder: where the script runs.
    """

    def __init__(
        self,
        command: Sequence[Any],
        log: Path,
        hint: str,
        variables: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ):
        self._command, self._log, self._hint, self._folder = command, log, hint, folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self._environment = {**kept, "PYTHONUTF8": "1", **(variables or {})}
        self._process: subprocess.Popen | None = None

    def __call__(self, name: str, argument: Any = None) -> Any:
        """Return the answer to a request. Raises UserError with the last line of the log if the script fails."""
        try:
            process = self._process = self._process or self._start()
            process.stdin.write(json.dumps([name, argument]).encode() + b"\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        except (OSError, ValueError) as error:
            cause = one_line(error)
        if self._process:
            cause = f"exit code {self.close()}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        cause = one_line(lines[-1]) if lines else cause
        raise UserError(f"{self._command[0]} fails: {cause} (see {self._log}); {self._hint}")

    def _start(self) -> subprocess.Popen:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C is for this process alone
            )

    def close(self) -> int | None:
        """End the script, and return its exit code; None if it does not run."""
        process, self._process = self._process, None
        if process:
            process.communicate()  # closes its input
        return process and process.returncode
