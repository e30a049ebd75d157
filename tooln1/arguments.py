"""Types of command-line arguments, for argparse."""

import argparse


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
