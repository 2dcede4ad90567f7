"""The patterns of `matchGlob` (https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob)."""

import re

from cos_customizer.emulator.patterns import Pattern
from cos_customizer.emulator.storage.requests import invalid

_LONGEST = 1024
_MOST_BRACES = 4
_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]]*\]|\\.|[{},]|.", re.DOTALL)
_FIXED = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def glob(text: str) -> Pattern:
    """Return the pattern that matches the same names as a glob, in a bounded time.

    Raises:
        ApiError: 400, it is none, or too complex.
    """
    if len(text) > _LONGEST or text.count("{") > _MOST_BRACES:
        raise invalid(f"Invalid value for field 'matchGlob': '{text[:100]}'. It is too complex.")
    try:
        return Pattern(f"(?s:{_translated(text)})")
    except ValueError:
        raise invalid(f"Invalid value for field 'matchGlob': '{text[:100]}'.") from None


def _translated(text: str) -> str:
    parts, depth = [], 0
    for piece in _TOKENS.findall(text):
        if piece in _FIXED:
            parts.append(_FIXED[piece])
        elif piece == "{":
            depth += 1
            parts.append("(?:")
        elif piece == "}" and depth:
            depth -= 1
            parts.append(")")
        elif piece == "," and depth:
            parts.append("|")
        elif piece[0] == "[" and len(piece) > 2:
            negated = piece[1] in "!^"
            inner = piece[1 + negated : -1].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]")
            parts.append(f"[^/{inner}]" if negated else f"[{inner}]")
        else:
            parts.append(re.escape(piece.removeprefix("\\") or piece))
    if depth:
        raise ValueError("a brace is not closed")
    return "".join(parts)
