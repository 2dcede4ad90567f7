"""`commands`: list all commands."""

import click

from cos_customizer.cli.command import ABOUT, command
from cos_customizer.cli.reference import commands


@command("commands", section=ABOUT, rank=2)
@click.pass_context
def list_commands(ctx: click.Context, /) -> None:
    """List all commands, one a line."""
    click.echo("\n".join(each.name for each in commands(ctx.find_root().command) if each.name))
