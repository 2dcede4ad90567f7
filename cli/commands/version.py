"""`version`: print the version."""

import click

from cos_customizer.cli import reference
from cos_customizer.cli.command import ABOUT, command


@command("version", section=ABOUT, rank=4)
def show_version() -> None:
    """Print the version."""
    click.echo(reference.version())
