"""Colours of single lines on a terminal: by what they mean, and only where they can be seen and are wanted."""

import os
from typing import Literal, TextIO

Meaning = Literal["good", "warning", "bad"]
_CODES: dict[Meaning, str] = {"good": "32", "warning": "33", "bad": "1;31"}


def is_capable(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that can do more than print lines."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def coloured(line: str, meaning: Meaning, stream: TextIO | None) -> str:
    """A line as it is printed on a stream. `NO_COLOR` is respected (https://no-color.org).

    Args:
        line: without a line's end.
        meaning: of the line.
        stream: that it goes to.
    """
    if not is_capable(stream) or os.environ.get("NO_COLOR"):
        return line
    return f"\x1b[{_CODES[meaning]}m{line}\x1b[0m"
