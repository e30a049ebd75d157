"""``tooln1-python``: runs a script or a command in a process that the fork server forks, as python would run it.

It hands over its arguments, environment, working directory, niceness and open files, passes signals on, and ends as the
forked process ends. Nothing heavy may be imported here.
"""

import json
import os
import signal
import socket
import sys

from tooln1.platforms.fork import SOCKET_VARIABLE

# The kernel passes 253 descriptors in one message; whoever has more, or higher ones, does without the server.
MOST_FILES, HIGHEST_FILE = 200, 511
# Instead of a process id: the client must do without the server.
REFUSED = -1
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> None:
    """Run ``sys.argv[1:]``, forked if a server answers, by python itself otherwise."""
    arguments = sys.argv[1:]
    server = _connect() if _is_understood(arguments) else None
    code = None if server is None else run(server, arguments)
    if code is None:
        os.execv(sys.executable, [sys.executable, *arguments])
    sys.exit(code)


def run(server: socket.socket, arguments: list[str]) -> int | None:
    """Have ``arguments`` run.

    Returns:
        The exit code as a shell counts (128 and the signal's number if one ended it), or None if the server refused.
    """
    files = [number for number in _open_files() if number != server.fileno()]
    if len(files) > MOST_FILES or max(files, default=0) > HIGHEST_FILE:
        return None
    request = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "files": files,
    }
    payload = json.dumps(request).encode()
    try:
        socket.send_fds(server, [len(payload).to_bytes(4, "big")], files)
        server.sendall(payload)
        replies = server.makefile("r")
        pid = int(replies.readline() or REFUSED)
    except OSError:
        pid = REFUSED
    if pid == REFUSED:
        server.close()
        return None
    # Pipes must see their end when the forked process closes it, whatever this one holds.
    for number in files:
        if number > 2:
            os.close(number)
    for number in FORWARDED:
        signal.signal(number, lambda received, _frame: _pass_on(pid, received))
    return int(replies.readline() or 1)


def without_options(arguments: list[str]) -> list[str]:
    """A command line without the leading options that matter to a fresh interpreter only."""
    start = 0
    while start < len(arguments) and arguments[start] in ("-u", "-B"):
        start += 1
    return arguments[start:]


def _is_understood(arguments: list[str]) -> bool:
    """Whether it is a script or a command, with no other option for the interpreter."""
    rest = without_options(arguments)
    return bool(rest) and (rest[0] == "-c" or not rest[0].startswith("-"))


def _connect() -> socket.socket | None:
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        return None
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(path)
    except OSError:
        server.close()
        return None
    return server


def _open_files() -> list[int]:
    numbers = []
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:  # the directory's own descriptor, closed by now
            continue
        numbers.append(int(name))
    return sorted(numbers)


def _pass_on(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    main()
