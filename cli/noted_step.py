"""Noting down a step, as all commands of steps do it."""

from typing import Any

import click

from cos_customizer.cli.state import BuildState, StateDirectory
from cos_customizer.customizer.errors import UsageError


def check_only_one(state: BuildState, kind: str, reason: str) -> None:
    """Check that there is no step of a kind yet, of which a build can have one.

    Args:
        state: what was written down before.
        kind: of the step.
        reason: why there can be one only.

    Raises:
        UsageError: there is one.
    """
    if any(other["type"] == kind for other in state.spec.get("steps", [])):
        raise UsageError(
            f"{kind} can be given once in an image build: {reason}",
            "start over (start-image-build -force) to choose another.",
        )


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
