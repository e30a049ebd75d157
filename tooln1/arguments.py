"""What every command line of the package shares: its parser and its types of arguments."""

import argparse
from typing import NoReturn

from tooln1.errors import EXIT_USER_ERROR


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says a mistake on one line instead of repeating its whole usage."""

    def __init__(self, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Exit as for any mistake that the user can mend."""
        self.exit(EXIT_USER_ERROR, f"error: {message} ({self.prog} --help shows what it takes)\n")


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """Read a whole number from 0 on."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got {text}")
    return number
