"""`-timeout` of the commands that build nothing: what they have not done by then, they leave, and say so."""

import time
from contextlib import AbstractContextManager, nullcontext

import click

from cos_customizer.cli.checks import checked
from cos_customizer.cli.flag_kinds import DurationFlag
from cos_customizer.customizer.durations import check_time_limit
from cos_customizer.flows.time_limit import in_time

_LEFT = (
    "What is not done by then is left as it is and named; the exit code is then 1, and the same command again does the "
    "rest."
)


def timeout_flag(default: str | None, also: str = _LEFT) -> DurationFlag:
    """The flag.

    Args:
        default: Go duration, as Go writes it; None for no default that is known before.
        also: what becomes of what is not done by then.
    """
    return DurationFlag(
        "timeout",
        f"Time limit of the command as a Go duration (1h30m, 90s). {also}",
        field="timeout",
        default=default,
        example="-timeout=10m",
    )


def within(timeout: str | None, default: str | None) -> AbstractContextManager[None]:
    """The time limit of a command, from its start on; see `in_time`.

    Args:
        timeout: value of the flag.
        default: its default, which stands for an empty value too; None for no limit.

    Raises:
        UsageError: it is no time at all.
    """
    given = timeout or default
    return in_time(checked("timeout", [given], check_time_limit)[0], command_began()) if given else nullcontext()


def command_began() -> float:
    """Value of `time.monotonic()` when the command began."""
    context = click.get_current_context(silent=True)
    return context.obj if context is not None and isinstance(context.obj, float) else time.monotonic()
