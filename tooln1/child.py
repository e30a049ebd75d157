"""Child processes that never outlive their parent (Linux)."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the kernel kill this process when ``parent``, its parent's process id, ends, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal.SIGKILL)


def start_child(command: Sequence[str], output: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen:
    """Start ``command`` with both its streams in ``output``; it is killed when this process ends.

    It leads a process group of its own: what is sent to the whole group of its parent, by Ctrl-C or a batch system, is
    the parent's to handle, and its own processes can be stopped with it.
    """
    parent = os.getpid()
    return subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,
        preexec_fn=lambda: die_with(parent),
    )
