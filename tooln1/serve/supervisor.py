"""Runs vLLM's server as a child: `python -m tooln1.serve.supervisor SECONDS COMMAND…`.

Ctrl-C and SIGTERM give running requests so many seconds to finish. Then, or after a second signal, the server is
killed. After Ctrl-C, nothing more of its output is shown.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

import psutil

from tooln1.errors import EXIT_FAILURE, EXIT_INTERRUPTED
from tooln1.processes import die_with

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_WATCHED = (*_STOPPING, signal.SIGCHLD)
_GRACE_SECONDS = 10  # in which vLLM ends when no request runs any more


def supervise(command: Sequence[str], patience: float) -> int:
    """Run a command until it ends or is stopped, and return an exit code.

    That is 130 after Ctrl-C, 0 after SIGTERM (1 if the server had to be killed), and the command's own otherwise.

    Args:
        command: the command of the server.
        patience: seconds that running requests get after the first signal.
    """
    # Signals wait until they are asked for, so that none arrives between two lines.
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    parent = os.getpid()

    def prepare() -> None:
        die_with(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)

    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=prepare)
    is_quiet = threading.Event()
    copying = threading.Thread(target=_copy, args=(child.stdout, is_quiet), daemon=True)
    copying.start()
    stopped_by, deadline, is_killed = None, float("inf"), False
    while child.poll() is None:
        received = signal.sigtimedwait(_WATCHED, max(0.0, min(deadline - time.monotonic(), 3600.0)))
        number = received.si_signo if received else None
        if number in _STOPPING and stopped_by is None:
            stopped_by, deadline = number, time.monotonic() + patience + _GRACE_SECONDS
            is_quiet.set() if number == signal.SIGINT else None
            print(f"stopping: requests may finish for {patience:g} s; a second signal ends them", file=sys.stderr)
            child.send_signal(signal.SIGTERM)
        elif number in _STOPPING or time.monotonic() >= deadline:
            is_killed = True
            for process in [*psutil.Process(child.pid).children(recursive=True), child]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
    copying.join(timeout=5)  # not for ever: a process that outlives the server may hold its output open
    if stopped_by == signal.SIGINT:
        return EXIT_INTERRUPTED
    if stopped_by == signal.SIGTERM:
        return EXIT_FAILURE if is_killed else 0
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _copy(output: IO[bytes], is_quiet: threading.Event) -> None:
    for piece in iter(lambda: output.read1(1 << 16), b""):
        if not is_quiet.is_set():
            try:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            except OSError:  # nobody reads any more; the server must not block
                is_quiet.set()


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[2:], float(sys.argv[1])))
