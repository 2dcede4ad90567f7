"""Noting down a step, as all commands of steps do it in the end."""

from typing import Any

import click

from cos_customizer.cli.state import StateDirectory


def note_step(state: StateDirectory, step: dict[str, Any], label: str) -> int:
    """Append a step to the local state, and say so.

    Args:
        state: of the build that is prepared.
        step: a step of a `BuildSpec` as JSON-like data.
        label: what people see of it.

    Returns:
        The command's exit code.

    Raises:
        UsageError: no build is being prepared.
    """
    topic = f"step {state.add_step(step)}"
    click.echo(f"{topic:<14}{label}")
    return 0
