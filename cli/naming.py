"""Fields in the words of the command that runs."""

import click

from cos_customizer.cli.go_flags import GoCommand
from cos_customizer.customizer.fields import named


def in_flags(text: str) -> str:
    """A text in which fields are called as users of the running command know them; outside of one, by their paths."""
    ctx = click.get_current_context(silent=True)
    if ctx is None or not isinstance(ctx.command, GoCommand):
        return text
    return named(text, ctx.command.naming(ctx))
