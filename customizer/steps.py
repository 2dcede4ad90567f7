"""Checks of customization steps that the light commands share with the specification (no pydantic here)."""

import difflib
import posixpath
from collections.abc import Collection, Mapping

METADATA_VALUE_LIMIT = 256 * 1024
"""Bytes that one instance metadata value may have; the plan travels in one.

Source: https://cloud.google.com/compute/docs/metadata/setting-custom-metadata#limitations.
"""

ENVIRONMENT_LIMIT = 128 * 1024
"""Bytes that a step's environment may have: half of the metadata value, and what Linux takes as one argument."""


def normalize_script(path: str) -> str:
    """The path of a script in the build context, without a leading `./` and the like.

    Raises:
        ValueError: it is empty, absolute, or leads out of the build context.
    """
    if not path:
        raise ValueError("-script must be set")
    normal = posixpath.normpath(path)
    if normal.startswith("/"):
        raise ValueError(f"{path!r} is absolute; give the path relative to the build context's root")
    if normal == ".." or normal.startswith("../"):
        raise ValueError(f"{path!r} is outside the build context")
    if normal == ".":
        raise ValueError(f"{path!r} is a directory, not a script")
    return normal


def near_names(wanted: str, names: Collection[str], limit: int = 3) -> list[str]:
    """Names like the one wanted, best first: what a typing error may have meant."""
    same_file = [name for name in names if posixpath.basename(name) == posixpath.basename(wanted)]
    close = difflib.get_close_matches(wanted, names, n=limit, cutoff=0.6)
    return list(dict.fromkeys([*same_file, *close]))[:limit]


def check_environment_size(env: Mapping[str, str]) -> None:
    """Check that a step's environment can travel in instance metadata.

    Raises:
        ValueError: it is too large; the message names the largest variable and its size.
    """
    sizes = {name: len(f"{name}={value}".encode()) for name, value in env.items()}
    total = sum(sizes.values())
    if total > ENVIRONMENT_LIMIT:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(
            f"the environment has {total:,} bytes, of which {largest} has {sizes[largest]:,}; instance metadata takes "
            f"at most {ENVIRONMENT_LIMIT:,} a step"
        )


def mask_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment as it may be printed: names, and no values."""
    return dict.fromkeys(env, "***")
