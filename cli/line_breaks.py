"""Where lines break on a terminal: between words, and below the text that they go on with."""

from collections.abc import Iterator

_LEAST = 2
"""Spaces before a word that does not fit below the text, such as an address."""


def broken(line: str, width: int, indent: int) -> Iterator[str]:
    """Break a line that is too long.

    A word that is longer than a whole line is left to the terminal: who copies it there gets it in one piece.

    Args:
        line: without a line's end.
        width: of the terminal, in characters.
        indent: where the text begins, and goes on.
    """
    if len(line) <= width or len(line) <= indent:
        yield line
        return
    current, is_begun = line[:indent].rstrip(), False
    for word in line[indent:].split(" "):
        gap = 1 if is_begun else indent - len(current)
        if len(current) + gap + len(word) <= width:
            current += " " * gap + word
        else:
            yield current
            current = " " * (indent if indent + len(word) <= width else _LEAST) + word
        is_begun = True
    yield current
