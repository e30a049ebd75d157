"""How a command fails: the error that a user can mend, Ctrl-C, and the exit codes.

Exit codes: 0 success, 1 failure, 2 a mistake that the user can mend, 75 a training run stopped with a checkpoint
(tooln1/train/stopping.py), 130 Ctrl-C.
"""

import os
import signal
import sys
from collections.abc import Callable

EXIT_FAILURE, EXIT_USER_ERROR, EXIT_INTERRUPTED = 1, 2, 128 + signal.SIGINT


class UserError(Exception):
    """Raised for what a user can mend. Each message says on one line what is wrong, where, and what to do."""

    def __init__(self, *messages: str):
        self.messages = [" ".join(str(message).split()) for message in messages]
        super().__init__("\n".join(self.messages))


class ProcessError(Exception):
    """Raised when a process that a command started fails. The message ends with the last lines of its log."""


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command and exit with the code it returns; a UserError or Ctrl-C is one line on stderr."""
    # A shell that starts a command in its background makes it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = command()
        sys.stdout.flush()
    except UserError as error:
        print(*(f"error: {message}" for message in error.messages), sep="\n", file=sys.stderr)
        code = EXIT_USER_ERROR
    except ProcessError as error:
        print(error, file=sys.stderr)
        code = EXIT_FAILURE
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of the output, such as head, has ended; the rest of the buffer must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    if code:
        sys.exit(code)
