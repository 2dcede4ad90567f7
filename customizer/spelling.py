"""What a misspelled name may have meant."""

import posixpath
from collections.abc import Collection

_NEARLY_AS_NEAR = 0.08
"""How much less like the name wanted, of 1, another guess may be than the best one."""


def nearest(wanted: str, names: Collection[str]) -> list[str]:
    """Names like the one wanted, best first, at most three: files of the same name, what it is a beginning of, others.

    Of others only those that are as near as the nearest, or nearly: more are no guess.

    Args:
        wanted: a name that is not among them.
        names: what there is.
    """
    import difflib

    same_file = [name for name in names if posixpath.basename(name) == posixpath.basename(wanted)]
    beginning = [name for name in names if wanted and name.startswith(wanted)]
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    likeness = [difflib.SequenceMatcher(None, name, wanted).ratio() for name in close]
    near = [name for name, ratio in zip(close, likeness, strict=True) if ratio >= likeness[0] - _NEARLY_AS_NEAR]
    return list(dict.fromkeys([*same_file, *beginning, *near]))[:3]


def quoted(text: str) -> str:
    """A text in quotation marks, as it was written: control characters are escaped, a backslash is not doubled."""
    return repr(text).replace("\\\\", "\\")


def did_you_mean(wanted: str, names: Collection[str], before: str = "") -> str:
    """The question that names the nearest names; empty if there is none like the one wanted.

    Args:
        wanted: a name that is not among them.
        names: what there is.
        before: what names are written with: a flag's hyphen, the path that a field is below.
    """
    near = nearest(wanted, names)
    return f"did you mean {' or '.join(before + name for name in near)}?" if near else ""
