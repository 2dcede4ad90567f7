"""What commands and flags there are: for `help`, `commands` and `flags`, for shells and for the documentation."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from cos_customizer.cli.go_flags import Flag, GoCommand, nearest
from cos_customizer.customizer.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


@dataclass(frozen=True)
class FlagReference:
    """A flag as documentation shows it.

    Attributes:
        name: `-image-name`.
        value: what it takes, `NAME`; empty for a boolean.
        text: its meaning.
        default: as one would write it; empty if there is none.
        example: the whole flag with a value; may be empty.
    """

    name: str
    value: str
    text: str
    default: str
    example: str


@dataclass(frozen=True)
class CommandReference:
    """A command as documentation shows it.

    Attributes:
        name: `run-script`, `emulator start`; empty for the program itself.
        summary: one line.
        text: the whole description.
    """

    name: str
    summary: str
    text: str
    flags: tuple[FlagReference, ...]


def commands(program: click.Group | None = None) -> Iterator[CommandReference]:
    """Every command with its flags: the program itself first, then its commands in their order.

    Args:
        program: the root group; by default this program's.
    """
    from cos_customizer.cli import main

    yield from _below(click.Context(program or main.program, info_name="cos-customizer"), "")


def _below(ctx: click.Context, name: str) -> Iterator[CommandReference]:
    command = ctx.command
    yield CommandReference(name, command.get_short_help_str(200), _text(command), tuple(_flags(command, ctx)))
    if isinstance(command, click.Group):
        for child_name in command.list_commands(ctx):
            child = command.get_command(ctx, child_name)
            if child is not None and not child.hidden:
                child_ctx = click.Context(child, info_name=child_name, parent=ctx)
                yield from _below(child_ctx, f"{name} {child_name}".strip())


def _text(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _flags(command: click.Command, ctx: click.Context) -> Iterator[FlagReference]:
    for param in command.params:
        if isinstance(param, Flag):
            value = "" if param.kind == "bool" else str(param.metavar)
            yield FlagReference(f"-{param.flag}", value, param.help or "", param.default_text, param.example)
        elif isinstance(param, click.Option) and not param.hidden:
            value = "" if param.is_flag else param.make_metavar(ctx)
            default = "" if param.is_flag or not isinstance(param.default, str | int | float) else str(param.default)
            yield FlagReference(param.opts[-1], value, param.help or "", default, "")


def _find(ctx: click.Context, path: tuple[str, ...]) -> click.Context:
    """The context of the command that a path of names leads to."""
    here = ctx.find_root()
    for name in path:
        group = here.command
        child = group.get_command(here, name) if isinstance(group, click.Group) else None
        if child is None:
            raise no_such_command(name, group.list_commands(here) if isinstance(group, click.Group) else [])
        here = click.Context(child, info_name=name, parent=here)
    return here


def no_such_command(name: str, names: list[str]) -> UsageError:
    """The error for a command that is not there, naming those that are like it.

    Args:
        name: what was asked for.
        names: what there is.
    """
    near = nearest(name, names)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(f"there is no command {name!r}", f"{meant}`cos-customizer commands` lists them.")


class _CommandName(click.ParamType):  # type: ignore[type-arg]
    name = "command"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> "list[CompletionItem[str]]":
        try:
            here = _find(ctx, tuple(ctx.params.get("path") or ()))
        except UsageError:
            return []
        return here.command.shell_complete(here, incomplete) if isinstance(here.command, click.Group) else []


_path = click.Argument(["path"], type=_CommandName(), nargs=-1, metavar="[COMMAND]")


@click.command("help", cls=GoCommand, params=[_path], short_help="Explain the program, or a command and its flags.")
@click.pass_context
def show_help(ctx: click.Context, /, path: tuple[str, ...]) -> None:
    """Explain the program, or a command and its flags."""
    there = _find(ctx, path)
    click.echo(there.command.get_help(there))


@click.command("commands", cls=GoCommand, short_help="List all commands.")
@click.pass_context
def list_commands(ctx: click.Context, /) -> None:
    """List all commands, one a line."""
    program = ctx.find_root().command
    assert isinstance(program, click.Group)
    click.echo("\n".join(command.name for command in commands(program) if command.name))


@click.command("flags", cls=GoCommand, params=[_path], short_help="List the flags of the program, or of a command.")
@click.pass_context
def list_flags(ctx: click.Context, /, path: tuple[str, ...]) -> None:
    """List the flags of a command; without one, those of the program and of every command."""
    there = _find(ctx, path)
    program = ctx.find_root().command
    assert isinstance(program, click.Group)
    wanted = " ".join(path)
    if path and not isinstance(there.command, click.Group):
        click.echo(_flag_list(tuple(_flags(there.command, there))))
        return
    chosen = [
        command
        for command in commands(program)
        if command.flags and (command.name == wanted or command.name.startswith(f"{wanted} ".lstrip()))
    ]
    titles = [f"cos-customizer {command.name}".rstrip() for command in chosen]
    click.echo(
        "\n\n".join(f"{title}\n{_flag_list(command.flags)}" for title, command in zip(titles, chosen, strict=True))
    )


def _flag_list(flags: tuple[FlagReference, ...]) -> str:
    """Flags as Go's `PrintDefaults` lists them."""
    lines = []
    for flag in flags:
        lines.append(f"  {flag.name} {flag.value}".rstrip())
        default = f" (default {flag.default})" if flag.default else ""
        lines.append(f"        {flag.text}{default}")
    return "\n".join(lines)


@click.command("version", cls=GoCommand, short_help="Print the version.")
def show_version() -> None:
    """Print the version."""
    click.echo(version())


def version() -> str:
    """The program's name and version."""
    from importlib.metadata import version as version_of

    return f"cos-customizer {version_of('cos-customizer')}"
