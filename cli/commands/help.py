"""`help`: explain the program, or a command."""

import click

from cos_customizer.cli.command import ABOUT, command
from cos_customizer.cli.reference import command_path, find


@command("help", [command_path()], section=ABOUT, rank=1)
@click.pass_context
def show_help(ctx: click.Context, /, path: tuple[str, ...]) -> None:
    """Explain the program, or a command and its flags."""
    there = find(ctx, path)
    click.echo(there.command.get_help(there))
