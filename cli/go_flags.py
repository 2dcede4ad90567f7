"""Go's syntax of flags (https://pkg.go.dev/flag), on top of click, and commands that take it.

`-flag=value`, `-flag value`, `--flag…`, switches as `-flag` or `-flag=true` and never `-flag true`; parsing stops at
the first argument that is not a flag, or after `--`. Arguments are rewritten into the one form `--flag=value` before
click sees them, so that conversion, help and shell completion stay click's.
"""

import inspect
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.flag import Flag, flag_names, name_flags
from cos_customizer.cli.flag_values import FALSE, TRUE
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.fields import Naming
from cos_customizer.customizer.spelling import did_you_mean, quoted

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def split_arguments(args: Sequence[str], flags: Mapping[str, Flag], command: str, lenient: bool = False) -> list[str]:
    """Rewrite Go's flag syntax into `--flag=value …`, then `--`, then what is left over.

    Args:
        args: arguments as the user gave them.
        flags: the flags that there are, by name.
        command: what to name in hints: `run-script`, or nothing for the program itself.
        lenient: leave out what cannot be read, as shell completion needs it.

    Raises:
        UsageError: an unknown flag, bad syntax, or a value that is missing.
    """
    tokens: list[str] = []
    rest = list(args)
    while rest and len(rest[0]) > 1 and rest[0][0] == "-":
        arg = rest.pop(0)
        if arg == "--":
            break
        name, equals, value = arg[2 if arg[1] == "-" else 1 :].partition("=")
        try:
            tokens.append(_token(arg, name, value if equals else None, rest, flags, command))
        except UsageError:
            if not lenient:
                raise
    return [*tokens, "--", *rest] if rest else tokens


def _token(arg: str, name: str, value: str | None, rest: list[str], flags: Mapping[str, Flag], command: str) -> str:
    flag = flags.get(name)
    if flag is None:
        if name in ("h", "help"):
            return "--help"
        raise _unknown(arg, name, flags, command)
    if flag.value_is_optional:
        return f"--{name}={TRUE[0] if value is None else value}"
    if not flag.takes_value:
        if value is None or value in TRUE:
            return f"--{name}"
        if value in FALSE:
            return f"--no-{name}"
        raise UsageError(f"-{name}: {value!r} is neither true nor false", f"write -{name} or -{name}=false.")
    if value is None:
        if not rest:
            raise UsageError(f"-{name} needs a value", see_help(command))
        value = rest.pop(0)
    return f"--{name}={value}"


def _unknown(arg: str, name: str, flags: Mapping[str, Flag], command: str) -> UsageError:
    if not name or name[0] == "-":
        return UsageError(f"{arg!r} is not a flag", see_help(command))
    return UsageError(f"unknown flag -{name}", f"{did_you_mean(name, flags, '-')} {see_help(command)}".lstrip())


def see_help(command: str) -> str:
    """The hint that leads to a command's help."""
    return f"see: cos-customizer help {command}".rstrip() + "."


class _GoSyntax(click.Command):
    """What commands and groups of commands have in common."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.short_help = self.short_help or inspect.cleandoc(self.help or "").partition("\n")[0]
        name_flags(self.flags())

    def flags(self) -> list[Flag]:
        """The flags declared here, in order."""
        return [param for param in self.params if isinstance(param, Flag)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flags = {flag.flag: flag for flag in self.flags()}
        command = "" if ctx.parent is None else ctx.command_path.partition(" ")[2]
        tokens = split_arguments(args, flags, command, lenient=ctx.resilient_parsing)
        takes_more = isinstance(self, click.Group) or any(isinstance(param, click.Argument) for param in self.params)
        if "--" in tokens and not takes_more and not ctx.resilient_parsing:
            left = tokens[tokens.index("--") + 1 :]
            raise UsageError(
                f"{command} takes flags only, and does not understand {' '.join(map(quoted, left))}",
                self._hint_for(left[0], tokens, command),
            )
        return super().parse_args(ctx, tokens)

    def _hint_for(self, word: str, tokens: Sequence[str], command: str) -> str:
        """What to do about a word that is no flag: mostly it is what the command is about, without its flag."""
        if word in (*TRUE, *FALSE):
            return "a boolean flag takes its value with '=': -flag=false."
        first = next(iter(self.flags()), None)
        given = first is None or any(token.startswith(f"--{first.flag}=") for token in tokens)
        if first is None or not first.names_file or given:
            return see_help(command)
        return f"write -{first.flag}={word}; {see_help(command)}"

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        # Every flag has two spellings; the one with two hyphens is offered to those who began with two.
        items = super().shell_complete(ctx, incomplete)
        doubled = incomplete.startswith("--")
        inner = {name for param in self.params for name in param.secondary_opts}
        return [item for item in items if item.value not in inner and (doubled or not item.value.startswith("--"))]

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        pieces = [piece for piece in self.collect_usage_pieces(ctx) if piece != self.options_metavar]
        if any(not flag.hidden for flag in self.flags()):
            pieces.insert(0, "[flags]")
        formatter.write_usage(ctx.command_path, " ".join(pieces), prefix="usage: ")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for paragraph in inspect.cleandoc(self.help or "").split("\n\n"):
            formatter.write("\n")
            _write(formatter, paragraph, 2)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        if self.flags():
            with formatter.section("Flags"):
                for flag in self.flags():
                    _write(formatter, flag.signature(), 2)
                    for paragraph in flag.explanation():
                        _write(formatter, paragraph, 6)


def _write(formatter: click.HelpFormatter, text: str, indent: int) -> None:
    """Write a paragraph; unlike click's own, lines are never broken at a flag's hyphens."""
    space = " " * indent
    for line in textwrap.wrap(
        text,
        formatter.width,
        initial_indent=space,
        subsequent_indent=space,
        break_on_hyphens=False,
        break_long_words=False,
    ):
        formatter.write(f"{line}\n")


class GoCommand(_GoSyntax):
    """A command whose flags have Go's syntax.

    Attributes:
        section: of the help that it stands in; empty for a command of another one.
        rank: its place there.
    """

    section = ""
    rank = 0

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Errors name fields by the flags of this command, and of those that it works together with.

        Raises:
            UsageError: a flag is missing that it does not run without.
            CustomizerError: the command cannot do, or has not done, what it is for.
        """
        missing = [f"-{flag.flag}" for flag in self.flags() if flag.needed and not ctx.params[flag.name or ""]]
        if missing:
            raise UsageError(f"{' and '.join(missing)} must be given", see_help(self.name or ""))
        try:
            return super().invoke(ctx)
        except CustomizerError as error:
            error.name_fields(self.naming(ctx))
            raise

    def naming(self, ctx: click.Context) -> Naming:
        """How users of this command know fields: as its flags, and those of commands that it works together with."""
        root = ctx.find_root().command
        others = root.commands_in(self.section) if isinstance(root, GoGroup) else ()
        return flag_names([*self.flags(), *(flag for other in others for flag in other.flags())])


class ArgumentFirst(GoCommand):
    """Takes its flags after its arguments, too: Go's parser would stop there."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the arguments last."""
        if not ctx.resilient_parsing:
            first = next((at for at, word in enumerate(args) if word.startswith("-")), 0)
            args = [*args[first:], *args[:first]]
        return super().parse_args(ctx, args)


class GoGroup(_GoSyntax, click.Group):
    """A group of commands whose own flags have Go's syntax."""

    command_class = GoCommand

    def commands_in(self, section: str) -> Sequence[GoCommand]:  # noqa: ARG002
        """The commands of a section of the help; none, if it has no sections."""
        return ()

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **{"subcommand_metavar": "COMMAND [flags]", **attributes})

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the commands before the group's own flags."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)
