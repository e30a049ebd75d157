"""What the end-to-end tests share."""

import psutil
import pytest

from tooln1.processes import find_left_over_processes


@pytest.fixture(scope="session")
def left_over():
    """Returns the command lines of the processes that a run folder's run has left behind."""

    def find(folder):
        found = []
        for process in find_left_over_processes(folder):
            try:
                found.append(" ".join(process.cmdline()[:4]))
            except psutil.NoSuchProcess:
                continue
        return found

    return find
