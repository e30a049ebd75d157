"""The Hydra callback that starts the fork server with a run of verl and stops it at the end."""

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
    """Starts the server before the job. Ray's workers use it if their ``py_executable`` is tooln1-python.

    Args:
        modules: the modules to import at once.
        ray_modules: the modules to import with the first worker, because they import ray (see server.py).
    """

    def __init__(self, modules: Sequence[str], ray_modules: Sequence[str]):
        self.modules = [*modules, "--", *ray_modules]

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        """Start the server. Hydra calls this in the driver, before verl's main function."""
        # Only this user can enter the folder: the server runs what its clients send.
        folder = tempfile.TemporaryDirectory(prefix="tooln1-fork-")
        path = str(Path(folder.name) / "socket")
        os.environ[SOCKET_VARIABLE] = path
        # tooln1-python must be found, even if the virtual environment is not active.
        os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
        # In a new session: only the driver handles Ctrl-C.
        server = subprocess.Popen(
            [sys.executable, "-m", "tooln1.platforms.fork.server", path, *self.modules], start_new_session=True
        )
        atexit.register(_stop, server, folder)


def _stop(server: subprocess.Popen, folder: tempfile.TemporaryDirectory) -> None:
    server.kill()
    server.wait()
    folder.cleanup()
