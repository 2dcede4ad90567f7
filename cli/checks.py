"""Checks of flags that name projects, families and buckets, for the commands that build nothing."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cos_customizer.cli.go_flags import see_help
from cos_customizer.customizer.errors import UsageError


def checked(flag: str, values: Iterable[str], check: Callable[[str], str]) -> list[str]:
    """The flag's values if all can be right, each once.

    Args:
        flag: its name without the hyphen.
        values: what was given.
        check: of `customizer.names`; raises ValueError.

    Raises:
        UsageError: one cannot be right.
    """
    try:
        return [check(value) for value in dict.fromkeys(values)]
    except ValueError as error:
        raise UsageError(f"-{flag}: {error}") from None


def required(values: Mapping[str, Any], command: str, *flags: str) -> None:
    """Refuse to go on without these flags.

    Args:
        values: the command's flags, by parameter name.
        command: its name.
        flags: names without hyphens.

    Raises:
        UsageError: one is missing or empty.
    """
    missing = [f"-{flag}" for flag in flags if not values[flag.replace("-", "_")]]
    if missing:
        raise UsageError(f"{' and '.join(missing)} must be given", see_help(command))
