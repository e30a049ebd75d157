"""The error that ends a command with one line instead of a traceback."""


class DataError(Exception):
    """Raised for what a user can mend: a file, a row or a setting. The message names it and says how, on one line."""

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))
