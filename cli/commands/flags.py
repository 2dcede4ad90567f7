"""`flags`: list flags."""

import click

from cos_customizer.cli.command import ABOUT, command
from cos_customizer.cli.reference import command_path, commands, find, flag_list, flags_of


@command("flags", [command_path()], section=ABOUT, rank=3)
@click.pass_context
def list_flags(ctx: click.Context, /, path: tuple[str, ...]) -> None:
    """List the flags of a command; without one, those of the program and of every command."""
    there = find(ctx, path)
    if path and not isinstance(there.command, click.Group):
        click.echo(flag_list(flags_of(there)))
        return
    wanted = " ".join(path)
    chosen = [
        each
        for each in commands(ctx.find_root().command)
        if each.flags and (each.name == wanted or each.name.startswith(f"{wanted} ".lstrip()))
    ]
    titles = [f"cos-customizer {each.name}".rstrip() for each in chosen]
    click.echo("\n\n".join(f"{title}\n{flag_list(each.flags)}" for title, each in zip(titles, chosen, strict=True)))
