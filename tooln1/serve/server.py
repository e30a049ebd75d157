"""A server that lives as long as a block of code: `tooln1 serve` as a child process."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tooln1.errors import UserError
from tooln1.files import shorten
from tooln1.processes import start_child

_POLL_SECONDS = 0.1
_STOP_SECONDS = 30


@contextmanager
def served(checkpoint: Path, log: Path, options: Sequence[str] = (), patience: float = 1800) -> Iterator[str]:
    """Serve a checkpoint and yield the endpoint's address; stop the server at the end, even if the block raises.

    Args:
        checkpoint: a model folder.
        log: the file for the server's output.
        options: further options of `tooln1 serve`.
        patience: seconds that the server may take to start; large models load for minutes.

    Raises:
        UserError: the server ends before it answers, or does not answer in time. The message shows the end of its log.
    """
    port = free_port()
    # At the end of the block nobody waits for a response.
    ours = ["--port", str(port), "--shutdown-timeout", "0"]
    command = [sys.executable, "-m", "tooln1.cli", "serve", str(checkpoint), *ours, *options]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = start_child(command, output, os.environ)
    try:
        _wait(process, f"http://127.0.0.1:{port}", log, patience)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        _stop(process)


def free_port() -> int:
    """Return a port on which nothing listens at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait(process: subprocess.Popen, address: str, log: Path, patience: float) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < deadline:
        try:
            opener.open(f"{address}/v1/models", timeout=5).close()
            return
        except (OSError, urllib.error.URLError):
            time.sleep(_POLL_SECONDS)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing"]
    how = f"did not answer within {patience:g} seconds" if process.poll() is None else f"ended ({process.returncode})"
    raise UserError(f"tooln1 serve {how}; its output is in {log} and ends: {shorten(lines[-1], 300)}")


def _stop(process: subprocess.Popen) -> None:
    # The server first, then what is left of its process group.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
