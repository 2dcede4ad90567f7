"""What a run-script step may ask for, as its command shares it with the specification (no pydantic here)."""

import posixpath
from collections.abc import Mapping

from cos_customizer.customizer.fields import Option, by_path

OPTIONS = by_path(
    Option("steps.run-script.script", "Path of the script, relative to the root of the build context.", required=True),
    Option(
        "steps.run-script.env",
        "Environment variables of the script. They travel in the builder VM's metadata: pass the name of a secret, not "
        "the secret.",
        dict,
    ),
)

ENVIRONMENT_LIMIT = 128 * 1024 - 1
"""Bytes that a step's environment may have.

Half of the 256 KiB of the metadata value that all steps travel in, and what Linux takes as one string (MAX_ARG_STRLEN,
less the closing zero). Source: https://cloud.google.com/compute/docs/metadata/setting-custom-metadata#limitations.
"""


MASK = "***"
"""What stands for the value of an environment variable wherever it could be printed."""


def normalize_script(path: str) -> str:
    """The path of a script in the build context, without a leading `./` and the like.

    Raises:
        ValueError: it is empty, absolute, leads out of the build context, or cannot be passed on.
    """
    if not path:
        raise ValueError("the path of a script must be set")
    if not _is_text(path):
        raise ValueError(f"{path!r} cannot be passed on to the builder VM: it is not valid UTF-8, or has a NUL")
    normal = posixpath.normpath(path)
    if normal.startswith("/"):
        raise ValueError(f"{path!r} is absolute; give the path relative to the build context's root")
    if normal == ".." or normal.startswith("../"):
        raise ValueError(f"{path!r} is outside the build context")
    if normal == ".":
        raise ValueError(f"{path!r} is a directory, not a script")
    return normal


def check_environment_size(env: Mapping[str, str]) -> None:
    """Check that a step's environment can travel in instance metadata.

    Raises:
        ValueError: it is too large, or not text; the message names the variable, never its value.
    """
    for name, value in env.items():
        if not _is_text(value):
            raise ValueError(f"the value of {name} is not valid UTF-8, or has a NUL; a file of the build context may")
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
    return dict.fromkeys(env, MASK)


def _is_text(value: str) -> bool:
    """Whether a shell variable can hold it; bytes that were not UTF-8 are lone surrogates here."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value
