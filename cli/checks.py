"""Checks of flags that name projects, families and buckets, for the commands that build nothing."""

from collections.abc import Callable, Iterable

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
