"""What a misspelled name may have meant."""

import posixpath
from collections.abc import Collection


def nearest(wanted: str, names: Collection[str]) -> list[str]:
    """Names like the one wanted, best first, at most three: files of the same name, what it is a beginning of, others.

    Args:
        wanted: a name that is not among them.
        names: what there is.
    """
    import difflib

    same_file = [name for name in names if posixpath.basename(name) == posixpath.basename(wanted)]
    beginning = [name for name in names if wanted and name.startswith(wanted)]
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    return list(dict.fromkeys([*same_file, *beginning, *close]))[:3]


def did_you_mean(wanted: str, names: Collection[str], before: str = "") -> str:
    """The question that names the nearest names; empty if there is none like the one wanted.

    Args:
        wanted: a name that is not among them.
        names: what there is.
        before: what names are written with: a flag's hyphen, the path that a field is below.
    """
    near = nearest(wanted, names)
    return f"did you mean {' or '.join(before + name for name in near)}?" if near else ""
