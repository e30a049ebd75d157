"""``tooln1-python``: runs a script or a command in a process that the fork server forks, as python would run it.

The client sends its arguments, environment, working directory and open files, passes signals on, and ends like the
forked process. It imports nothing heavy.
"""

import contextlib
import json
import os
import signal
import socket
import sys

from tooln1.platforms.fork import SOCKET_VARIABLE


def main() -> None:
    """Run ``sys.argv[1:]``: forked if a server answers, otherwise with python itself."""
    arguments = sys.argv[1:]
    code = run(arguments) if _is_understood(arguments) else None
    if code is None:
        os.execv(sys.executable, [sys.executable, *arguments])
    sys.exit(code)


def run(arguments: list[str]) -> int | None:
    """Have the server run ``arguments``.

    Returns:
        The exit code as a shell counts (128 plus the number of the signal that ended the process), or None if no server
        runs them.
    """
    files = open_files()
    request = {"arguments": arguments, "environment": dict(os.environ), "directory": os.getcwd(), "files": files}
    payload = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(os.environ.get(SOCKET_VARIABLE, ""))
            # The kernel refuses more than 253 files.
            socket.send_fds(server, [len(payload).to_bytes(4, "big")], files)
            server.sendall(payload)
            answers = server.makefile("r")
            pid = int(answers.readline())
        except (OSError, ValueError):  # no server, or it ended before it forked
            return None
        # The reader of a pipe must see its end when the forked process closes it.
        for number in files:
            if number > 2:
                os.close(number)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: _pass_on(pid, received))
        return int(answers.readline() or 1)


def without_options(arguments: list[str]) -> list[str]:
    """Return a command line without the leading options that matter to a fresh interpreter only."""
    start = 0
    while start < len(arguments) and arguments[start] in ("-u", "-B"):
        start += 1
    return arguments[start:]


def open_files() -> list[int]:
    """Return the numbers of this process's open files."""
    numbers = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own descriptor is closed by now
            os.fstat(int(name))
            numbers.append(int(name))
    return sorted(numbers)


def _is_understood(arguments: list[str]) -> bool:
    """Return whether they are a script or a command, without further options for the interpreter."""
    rest = without_options(arguments)
    return bool(rest) and (rest[0] == "-c" or not rest[0].startswith("-"))


def _pass_on(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    main()
