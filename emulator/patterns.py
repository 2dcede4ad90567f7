"""Regular expressions of clients: as long as is sensible, and given up when they take too long.

Google's own services match in linear time (RE2); Python's `re` may take for ever, and holds up the whole process.
"""

import time
from typing import Any

import regex

from cos_customizer.emulator.errors import ApiError

_LONGEST = 2000
_SECONDS = 1.0


class Pattern:
    """A regular expression with a budget of time: one second for all that it is used for.

    Args:
        text: in the syntax of Python's `re`.

    Raises:
        ValueError: it is none, or too long.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise ValueError(f"longer than {_LONGEST} characters")
        try:
            self._compiled = regex.compile(text)
        except (regex.error, RecursionError, OverflowError) as error:
            raise ValueError(str(error)) from None
        self._text = text
        self._left = _SECONDS

    def search(self, subject: str) -> Any:
        """Return the first match anywhere in the subject, or None.

        Raises:
            ApiError: 400, the time is over.
        """
        return self._match(self._compiled.search, subject)

    def fullmatch(self, subject: str) -> Any:
        """Return the match of the whole subject, or None.

        Raises:
            ApiError: 400, the time is over.
        """
        return self._match(self._compiled.fullmatch, subject)

    def _match(self, how: Any, subject: str) -> Any:
        began = time.monotonic()
        try:
            if self._left <= 0:
                raise TimeoutError
            return how(subject, timeout=self._left)
        except TimeoutError:
            message = f"The regular expression '{self._text[:100]}' takes longer than {_SECONDS:g} s."
            raise ApiError(400, "invalid", message) from None
        finally:
            self._left -= time.monotonic() - began
