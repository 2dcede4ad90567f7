"""Limits of what one emulator takes from the machine that it runs on, and the variables that set other ones."""

import os

from cos_customizer.emulator.errors import EmulatorError

MOST_UPLOAD_MIB = "COS_CUSTOMIZER_EMULATOR_MAX_UPLOAD_MIB"
"""Environment variable: MiB of one request to Cloud Storage (an object that is uploaded in pieces may be larger)."""


def longest_upload() -> int:
    """Return how many bytes the body of a request to Cloud Storage may have.

    Raises:
        EmulatorError: the variable is no number.
    """
    return _number(MOST_UPLOAD_MIB, 2048) << 20


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and int(text[:10]) > 0 and len(text) <= 10):
        raise EmulatorError(f"{variable} is {text[:20]!r}", "set it to a whole number from 1 on, or not at all")
    return int(text)
