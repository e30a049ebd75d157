"""The Hydra callback that starts the fork server with a run of verl and stops it after."""

import atexit
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from tooln1.platforms.fork import SOCKET_VARIABLE


class ForkServer(Callback):
    """Starts the server before the job; Ray's workers use it if their ``py_executable`` is tooln1-python.

    Args:
        modules: what to import at once, the names as in an import statement.
        ray_modules: what to import when the first worker comes, because it imports ray (see server.py).
    """

    def __init__(self, modules: Sequence[str], ray_modules: Sequence[str]):
        self.modules = [*modules, "--", *ray_modules]

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra in the driver, before verl's main function."""
        folder = tempfile.TemporaryDirectory(prefix="tooln1-fork-")
        path = str(Path(folder.name) / "socket")
        os.environ[SOCKET_VARIABLE] = path
        # Where tooln1-python lies, also if the virtual environment is not active.
        os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
        # A session of its own: Ctrl-C in the terminal is the driver's to handle.
        server = subprocess.Popen(
            [sys.executable, "-m", "tooln1.platforms.fork.server", path, *self.modules], start_new_session=True
        )
        atexit.register(_stop, server, folder)


def _stop(server: subprocess.Popen, folder: tempfile.TemporaryDirectory) -> None:
    server.kill()
    server.wait()
    folder.cleanup()
