"""Flags as Go programs take them (https://pkg.go.dev/flag), on top of click.

`-flag=value`, `-flag value`, `--flag…`, booleans as `-flag` or `-flag=true` and never `-flag true`; parsing stops at
the first argument that is not a flag, or after `--`. Arguments are rewritten into the one form `--flag=value` before
click sees them, so that conversion, help and shell completion stay click's.
"""

import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from cos_customizer.customizer.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)")

NOT_YET = {
    "oem-size": "The OEM partition cannot be resized yet.",
    "sbom-input-path": "A software bill of materials is not written yet.",
    "sbom-output-path": "A software bill of materials is not written yet.",
}
"""Flags of the original's later releases that have no counterpart here so far."""

_REPEATED = ("map", "list", "texts")


class Flag(click.Option):
    """One flag: its place in the parser, its help, its default, and the field of the specification that it sets.

    Attributes:
        flag: its name without hyphens.
        kind: `string`, `bool`, `int`, `duration`, `map`, `list`, `texts` (may be repeated, never split) or `choice`.
        example: a value worth showing, written as the whole flag.
        field: dotted path of the field of `BuildSpec` that it sets; empty if none.
        negated: whether the flag sets its boolean field to false.
        secret: whether values must not be repeated in messages.
    """

    def __init__(
        self,
        flag: str,
        text: str,
        *,
        kind: str = "string",
        value: str = "",
        default: Any = None,
        choices: Sequence[str] = (),
        example: str = "",
        field: str = "",
        negated: bool = False,
        secret: bool = False,
        completer: "click.ParamType[Any] | None" = None,
    ) -> None:
        self.flag, self.kind, self.example, self.field = flag, kind, example, field
        self.negated, self.secret = negated, secret
        name = flag.replace("-", "_")
        if kind == "bool":
            # The second name is how `-flag=false` is passed to click; it is not shown to anyone.
            super().__init__([f"-{flag}", f"--{flag}/--no-{flag}", name], help=text, default=bool(default))
            return
        types = {"int": _Integer(), "duration": _Duration(), "map": _Map(), "list": _List()}
        super().__init__(
            [f"-{flag}", f"--{flag}", name],
            help=text,
            default=default,
            type=completer or types.get(kind) or (_Choice(choices) if kind == "choice" else click.STRING),
            metavar=value or kind.upper(),
            multiple=kind in _REPEATED,
            callback=_merge if kind in _REPEATED else None,
        )

    @property
    def default_text(self) -> str:
        """The default as one would write it; empty if there is none to speak of."""
        if self.default in (None, False, "", 0) or self.multiple:
            return ""
        return "true" if self.default is True else str(self.default)

    def signature(self) -> str:
        """The flag and its value as shown in help: `-script PATH`."""
        return f"-{self.flag}" if self.kind == "bool" else f"-{self.flag} {self.metavar}"

    def explanation(self) -> list[str]:
        """The flag's meaning and default, and an example, as shown in help."""
        default = f" Default: {self.default_text}." if self.default_text else ""
        return [f"{self.help}{default}", *([f"Example: {self.example}"] if self.example else [])]


class _GoType(click.ParamType):  # type: ignore[type-arg]
    def refuse(self, param: click.Parameter | None, why: str, hint: str = "") -> NoReturn:
        raise UsageError(f"-{param.flag if isinstance(param, Flag) else self.name}: {why}", hint)


class _Integer(_GoType):
    name = "int"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ARG002
        if isinstance(value, int):
            return value
        digits = str(value).replace("_", "")
        if not _INTEGER.fullmatch(digits):
            self.refuse(param, f"{value!r} is not a whole number")
        octal = re.fullmatch(r"([+-]?)0([0-7]+)", digits)
        return int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0)


class _Duration(_GoType):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        from cos_customizer.customizer.durations import format_duration, parse_duration

        try:
            return format_duration(parse_duration(value)) if value else ""
        except ValueError as error:
            self.refuse(param, str(error), "write a duration as 1h30m, 90s, 1.5h or 300ms.")


class _Choice(click.Choice[str]):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "":  # as Go has it: an empty string is an unset flag
            return ""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            flag = param.flag if isinstance(param, Flag) else ""
            raise UsageError(f"-{flag}: {value!r} is not one of {', '.join(map(str, self.choices))}") from None


class _Map(_GoType):
    name = "map"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:  # noqa: ARG002
        if isinstance(value, dict):
            return value
        result: dict[str, str] = {}
        for number, item in enumerate(value.split(",") if value else [], start=1):
            key, equals, rest = item.partition("=")
            if not equals or not key:
                secret = isinstance(param, Flag) and param.secret
                what = f"item {number} (not shown)" if secret else repr(item)
                self.refuse(param, f"{what} is not of the form key=value", "a value cannot hold a comma.")
            result[key] = rest
        return result


class _List(_GoType):
    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:  # noqa: ARG002
        return value if isinstance(value, list) else [item for item in value.split(",") if item]


def _merge(_ctx: click.Context, _param: click.Parameter, values: tuple[Any, ...]) -> Any:
    """The sum of a repeated flag: later keys of a map win, lists grow."""
    if isinstance(_param, Flag) and _param.kind == "map":
        return {key: value for items in values for key, value in items.items()}
    if isinstance(_param, Flag) and _param.kind == "texts":
        return list(values)
    return [item for items in values for item in items]


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
    if flag.kind == "bool":
        if value is None or value in _TRUE:
            return f"--{name}"
        if value in _FALSE:
            return f"--no-{name}"
        raise UsageError(f"-{name}: {value!r} is neither true nor false", f"write -{name} or -{name}=false.")
    if value is None:
        if not rest:
            raise UsageError(f"-{name} needs a value", see_help(command))
        value = rest.pop(0)
    return f"--{name}={value}"


def _unknown(arg: str, name: str, flags: Iterable[str], command: str) -> UsageError:
    if name in NOT_YET:
        return UsageError(f"-{name} is not there yet", f"{NOT_YET[name]} Remove the flag to go on without it.")
    if not name or name[0] == "-":
        return UsageError(f"{arg!r} is not a flag", see_help(command))
    near = nearest(name, flags)
    meant = f"did you mean {' or '.join(f'-{flag}' for flag in near)}? " if near else ""
    return UsageError(f"unknown flag -{name}", meant + see_help(command))


def nearest(wanted: str, names: Iterable[str]) -> list[str]:
    """Names like the one wanted, best first, at most three."""
    import difflib

    known = list(names)
    beginning = [name for name in known if wanted and name.startswith(wanted)]
    return list(dict.fromkeys([*beginning, *difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)]))[:3]


def see_help(command: str) -> str:
    """The hint that leads to a command's help."""
    return f"see: cos-customizer help {command}".rstrip() + "."


class _GoSyntax(click.Command):
    """What commands and groups of commands have in common."""

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
                f"{command} takes flags only, and does not understand {' '.join(map(repr, left))}",
                "a boolean flag takes its value with '=': -flag=false."
                if left[0] in (*_TRUE, *_FALSE)
                else see_help(command),
            )
        return super().parse_args(ctx, tokens)

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
    """A command whose flags have Go's syntax."""


class GoGroup(_GoSyntax, click.Group):
    """A group of commands whose own flags have Go's syntax."""

    command_class = GoCommand

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **{"subcommand_metavar": "COMMAND [flags]", **attributes})

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the commands before the group's own flags."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


def spec_fields(flags: Iterable[Flag], values: Mapping[str, Any]) -> dict[str, Any]:
    """What flags say about a build, in the shape of its specification.

    Args:
        flags: the flags of a command; those without a field are passed over.
        values: their values, by parameter name. Unset and empty ones are passed over: defaults are the
            specification's.

    Returns:
        Nested dictionaries, for example `{"builder": {"zones": ["us-west1-b"]}}`.
    """
    spec: dict[str, Any] = {}
    for flag in flags:
        value = values.get(flag.name or "")
        if not flag.field or not value:
            continue
        *parents, last = flag.field.split(".")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = not value if flag.negated else value
    return spec
