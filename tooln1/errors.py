"""The error that ends a command with one line instead of a traceback."""


class UserError(Exception):
    """Raised for what a user can mend. The message names it and says how, on one line; the exit code is 2."""

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))
