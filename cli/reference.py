"""What commands and flags there are: for `help`, `commands` and `flags`, for shells and for the documentation."""

import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_values import Candidates
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spelling import nearest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


@dataclass(frozen=True)
class FlagReference:
    """A flag as documentation shows it.

    Attributes:
        name: `-image-name`.
        value: what it takes, `NAME`; in brackets, `[=KEY]`, what it may take; empty for a boolean.
        text: its meaning.
        default: as one would write it; empty if there is none.
        example: the whole flag with a value; may be empty.
    """

    name: str
    value: str
    text: str
    default: str
    example: str

    def written(self, before_value: str) -> str:
        """The flag and its value: `-image-name NAME`, `-inherit-labels[=KEY]`.

        Args:
            before_value: what stands before a value that it must have.
        """
        return self.name + (before_value if self.value[:1] not in ("", "[") else "") + self.value


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


def commands(program: click.Command) -> Iterator[CommandReference]:
    """Every command with its flags: the program itself first, then its commands in their order.

    Args:
        program: the root group.
    """
    yield from _below(click.Context(program, info_name="cos-customizer"), "")


def _below(ctx: click.Context, name: str) -> Iterator[CommandReference]:
    command = ctx.command
    yield CommandReference(name, command.get_short_help_str(200), _text(command), tuple(flags_of(ctx)))
    if isinstance(command, click.Group):
        for child_name in command.list_commands(ctx):
            child = command.get_command(ctx, child_name)
            if child is not None and not child.hidden:
                child_ctx = click.Context(child, info_name=child_name, parent=ctx)
                yield from _below(child_ctx, f"{name} {child_name}".strip())


def _text(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def flags_of(ctx: click.Context) -> Iterator[FlagReference]:
    """The flags of a command, in the order of its help.

    Args:
        ctx: the command's context.
    """
    for param in ctx.command.params:
        if isinstance(param, Flag):
            value = str(param.metavar) if param.takes_value else ""
            value = f"[={value}]" if param.value_is_optional else value
            yield FlagReference(f"-{param.flag}", value, param.help or "", param.default_text, param.example)
        elif isinstance(param, click.Option) and not param.hidden:
            value = "" if param.is_flag else param.make_metavar(ctx)
            default = "" if param.is_flag or not isinstance(param.default, str | int | float) else str(param.default)
            yield FlagReference(param.opts[-1], value, param.help or "", default, "")


def find(ctx: click.Context, path: tuple[str, ...]) -> click.Context:
    """The context of the command that a path of names leads to.

    Args:
        ctx: any context of the program.
        path: names of commands from the root group on; none for the program itself.

    Raises:
        UsageError: there is no such command.
    """
    here = ctx.find_root()
    for name in path:
        group = here.command
        child = group.get_command(here, name) if isinstance(group, click.Group) else None
        if child is None:
            raise no_such_command(name, group.list_commands(here) if isinstance(group, click.Group) else [])
        here = click.Context(child, info_name=name, parent=here)
    return here


def no_such_command(name: str, names: Collection[str], below: Mapping[str, str] | None = None) -> UsageError:
    """The error for a command that is not there, naming those that are like it.

    Args:
        name: what was asked for.
        names: what there is.
        below: by its own name, the whole of what is a command of another one: `emulator start` by `start`.
    """
    below = below or {}
    near = nearest(name, list(dict.fromkeys([*names, *below])))
    meant = [each if each in names else below[each] for each in near]
    question = f"did you mean {' or '.join(meant)}?" if meant else ""
    return UsageError(f"there is no command {name!r}", f"{question} `cos-customizer commands` lists them.".lstrip())


def _complete(ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
    try:
        here = find(ctx, tuple(ctx.params.get("path") or ()))
    except UsageError:
        return []
    return here.command.shell_complete(here, incomplete) if isinstance(here.command, click.Group) else []


def command_path() -> click.Argument:
    """The argument that names a command: `emulator start`."""
    return click.Argument(["path"], type=Candidates("command", _complete), nargs=-1, metavar="[COMMAND]")


def flag_list(flags: Iterable[FlagReference]) -> str:
    """Flags as Go's `PrintDefaults` lists them."""
    lines = []
    for flag in flags:
        lines.append(f"  {flag.written(' ')}")
        default = f" (default {flag.default})" if flag.default else ""
        lines.append(f"        {flag.text}{default}")
    return "\n".join(lines)


def version() -> str:
    """The program's name and version."""
    from importlib.metadata import version as version_of

    return f"cos-customizer {version_of('cos-customizer')}"
