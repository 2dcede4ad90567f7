"""What a run-script step may ask for, as its command shares it with the specification (no pydantic here)."""

import posixpath
from collections.abc import Mapping

from cos_customizer.customizer import names
from cos_customizer.customizer.fields import FieldPath, Message, Option, by_path
from cos_customizer.customizer.spelling import quoted

ENV, ENV_SECRETS = FieldPath("steps.run-script.env"), FieldPath("steps.run-script.env_secrets")
REPEAT_AFTER_REBOOT = FieldPath("steps.run-script.repeat_after_reboot")

OPTIONS = by_path(
    Option("steps.run-script.script", "Path of the script, relative to the root of the build context.", required=True),
    Option(
        ENV.path,
        Message(
            "Environment variables of the script. They travel in the builder VM's metadata in clear: give secrets by "
            "{}.",
            ENV_SECRETS,
        ),
        dict,
    ),
    Option(
        ENV_SECRETS.path,
        "Environment variables of the script whose values are secrets of Secret Manager, each given as "
        "projects/{project}/secrets/{secret}/versions/{version} (a number, latest or an alias). The VM reads them with "
        "its service account just before the script runs; they are nowhere else, and *** in its output.",
        dict,
    ),
    Option(
        REPEAT_AFTER_REBOOT.path,
        "Run the script again from its beginning when a reboot has interrupted it: twice at most. Otherwise the build "
        "fails then. (A script that ends by `exit 3010` is followed by a reboot, and by the next step.)",
        False,
    ),
)

ENVIRONMENT_LIMIT = 128 * 1024 - 1
"""Bytes that a step's environment may have.

Half of the 256 KiB of the metadata value that all steps travel in, and what Linux takes as one string (MAX_ARG_STRLEN,
less the closing zero). Source: https://cloud.google.com/compute/docs/metadata/setting-custom-metadata#limitations.
"""


BASH_OWN_NAMES = ("BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID")
"""Variables that bash sets itself and lets nobody change, so that it cannot take a secret's value for them.

Source: https://www.gnu.org/software/bash/manual/html_node/Bash-Variables.html.
"""


MASK = "***"
"""What stands for the value of an environment variable wherever it could be printed."""


def normalize_script(path: str) -> str:
    """The path of a script in the build context; see `normalize_file`."""
    return normalize_file(path, "script")


def normalize_file(path: str, kind: str = "file") -> str:
    """The path of a file in the build context, without a leading `./` and the like.

    Args:
        path: as it was given.
        kind: what to call it: file, script.

    Raises:
        ValueError: it is empty, absolute, leads out of the build context, or cannot be passed on.
    """
    if not path:
        raise ValueError(f"the path of a {kind} must be set")
    if not _is_text(path):
        raise ValueError(f"{quoted(path)} cannot be passed on to the builder VM: it is not valid UTF-8, or has a NUL")
    normal = posixpath.normpath(path)
    if normal.startswith("/"):
        raise ValueError(f"{quoted(path)} is absolute; give the path relative to the build context's root")
    if normal == ".." or normal.startswith("../"):
        raise ValueError(f"{quoted(path)} is outside the build context")
    if normal == ".":
        raise ValueError(f"{quoted(path)} is a directory, not a {kind}")
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


def check_environment_secrets(env_secrets: Mapping[str, str]) -> None:
    """Check that the guest can give these secrets to a script.

    Args:
        env_secrets: secrets' versions, by names of environment variables.

    Raises:
        ValueError: it cannot; the message names the variable, never what it is set to.
    """
    for name, version in env_secrets.items():
        names.check_environment_name(name)
        if name in BASH_OWN_NAMES:
            raise ValueError(f"{name} cannot be set for a script: bash sets it itself")
        try:
            names.check_secret_version(version)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None


def check_given_once(env: Mapping[str, str], env_secrets: Mapping[str, str]) -> None:
    """Check that no environment variable has both a value and a secret.

    Args:
        env: values by names.
        env_secrets: secrets by names.

    Raises:
        ValueError: one has.
    """
    if both := sorted(env.keys() & env_secrets.keys()):
        raise ValueError(Message("{} is in both {} and {}", ", ".join(both), *map(FieldPath, ("env", "env_secrets"))))


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
