"""Kinds of flags: how each takes its value, what help says of it, and the field of a specification that it sets."""

import errno
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import click

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import FieldPath, Message, Naming, Option, named

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_LONGEST_SHOWN = 80
"""Characters of a value that a message repeats."""
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)")


class Flag(click.Option):
    """A flag that takes a text.

    Attributes:
        flag: its name without hyphens.
        about: what it means, not yet with other flags' names in it; `help` has them.
        example: a value worth showing, written as the whole flag.
        field: dotted path of the field that it sets; empty if none.
        needed: whether its command refuses to run without it, before all else. (A field that is required is missed
            with all other faults of a specification.)
    """

    takes_value: ClassVar[bool] = True
    placeholder: ClassVar[str] = "STRING"
    """What help calls its value, unless it has a better name."""

    def __init__(
        self,
        flag: str,
        about: str | Option,
        *,
        also: str = "",
        value: str = "",
        default: Any = None,
        example: str = "",
        field: str = "",
        needed: bool = False,
        completer: "click.ParamType[Any] | None" = None,
        **attributes: Any,
    ) -> None:
        """Declare a flag.

        Args:
            flag: its name without hyphens.
            about: the field that it sets; or a text, where there is none, or where the flag means something else.
            also: what is true of the flag beside what is true of the field.
            value: what help calls its value.
            default: for a flag without a field.
            example: a value worth showing, written as the whole flag.
            field: dotted path of the field that it sets, where `about` is a text.
            needed: its command does not run without it.
            completer: how its value is completed, and checked.
            attributes: of `click.Option`.
        """
        self.flag, self.example, self.field, self.needed = flag, example, field, needed
        if isinstance(about, Option):
            self.field, default = about.path, self.default_of(about)
        if needed or (isinstance(about, Option) and about.required):
            also = f"{also} Required.".lstrip()
        about = self.meaning_of(about) if isinstance(about, Option) else about
        self.about = Message("{} {}", about, also) if also else about
        if completer:
            attributes["type"] = completer
        attributes.setdefault("type", _Text())
        if self.takes_value:
            attributes["metavar"] = value or self.placeholder
        super().__init__(self.spellings(), help=str(self.about), default=default, **attributes)

    def spellings(self) -> list[str]:
        """How it may be written, and the name of its parameter."""
        return [f"-{self.flag}", f"--{self.flag}", self.flag.replace("-", "_")]

    def default_of(self, option: Option) -> Any:
        """The value that the flag has where it is not given."""
        return None if callable(option.default) else option.default

    def meaning_of(self, option: Option) -> str:
        """What the flag does to the field."""
        return option.text

    @property
    def default_text(self) -> str:
        """The default as one would write it; empty if there is none to speak of."""
        if self.default in (None, False, "", 0) or self.multiple:
            return ""
        return "true" if self.default is True else str(self.default)

    def signature(self) -> str:
        """The flag and its value as shown in help: `-script PATH`."""
        return f"-{self.flag} {self.metavar}" if self.takes_value else f"-{self.flag}"

    def explanation(self) -> list[str]:
        """The flag's meaning and default, and an example, as shown in help."""
        default = f" Default: {self.default_text}." if self.default_text else ""
        return [f"{self.help}{default}", *([f"Example: {self.example}"] if self.example else [])]

    def field_value(self, value: Any) -> Any:
        """The value of its field where the flag has this value."""
        return value

    def setting(self, value: str | int | bool) -> str:
        """How one writes that its field has this value."""
        return f"-{self.flag}={value}"


class PathFlag(Flag):
    """A flag that takes a path of this machine."""

    def __init__(self, flag: str, about: str | Option, *, only: str = "", **attributes: Any) -> None:
        """Declare a flag.

        Args:
            flag: its name without hyphens.
            about: what it means.
            only: `directory` if nothing else is completed.
            attributes: of `Flag`.
        """
        super().__init__(flag, about, completer=PathType(file_okay=only != "directory", allow_dash=True), **attributes)


class SwitchFlag(Flag):
    """A flag that is on or off: `-flag`, `-flag=false`."""

    takes_value = False

    def __init__(self, flag: str, about: str | Option, *, default: bool = False, **attributes: Any) -> None:
        super().__init__(flag, about, default=default, type=click.BOOL, **attributes)

    def spellings(self) -> list[str]:
        """How it may be written, and the name of its parameter."""
        # The name of no-…, in two hyphens, is how `-flag=false` is passed to click; it is not shown to anyone.
        single, double, name = super().spellings()
        return [single, f"{double}/--no-{self.flag}", name]

    def setting(self, value: str | int | bool) -> str:
        """How one writes that its field has this value."""
        return f"-{self.flag}" if self.field_value(True) == value else f"-{self.flag}=false"


class NegatingFlag(SwitchFlag):
    """A switch that sets its field to false."""

    def default_of(self, option: Option) -> bool:
        """The value that the flag has where it is not given."""
        return not option.default

    def meaning_of(self, option: Option) -> str:
        """What the flag does to the field: the opposite of what its text says."""
        if isinstance(option.text, Message):
            template = option.text.template
            return Message(f"Do not {template[:1].lower()}{template[1:]}", *option.text.values)
        return f"Do not {option.text[:1].lower()}{option.text[1:]}"

    def field_value(self, value: Any) -> bool:
        """The value of its field where the flag has this value."""
        return not value


class IntegerFlag(Flag):
    """A flag that takes a whole number, as Go writes it: `50`, `0x32`, `5_0`."""

    placeholder = "INT"

    def __init__(self, flag: str, about: str | Option, **attributes: Any) -> None:
        super().__init__(flag, about, type=_Integer(), **attributes)


class DurationFlag(Flag):
    """A flag that takes a Go duration: `1h30m`."""

    placeholder = "DURATION"

    def __init__(self, flag: str, about: str | Option, **attributes: Any) -> None:
        super().__init__(flag, about, type=_Duration(), **attributes)


class ChoiceFlag(Flag):
    """A flag that takes one of a few words."""

    placeholder = "CHOICE"

    def __init__(self, flag: str, about: str | Option, *, choices: Sequence[str], **attributes: Any) -> None:
        self.choices = tuple(choices)
        super().__init__(flag, about, type=_Choice(choices), **attributes)

    def default_of(self, option: Option) -> str:
        """The field's default, in the letters of the command line's words."""
        return next(word for word in self.choices if word.lower() == option.default.lower())


class _RepeatedFlag(Flag):
    """A flag that may be given more than once."""

    def __init__(self, flag: str, about: str | Option, *, also: str = "", **attributes: Any) -> None:
        also = f"{also} May be repeated.".lstrip()
        super().__init__(
            flag, about, also=also, multiple=True, callback=lambda _, __, them: self.sum(them), **attributes
        )

    def sum(self, values: Iterable[Any]) -> Any:
        """The value of the flag if it is given with all these values."""
        raise NotImplementedError


class MapFlag(_RepeatedFlag):
    """A flag that takes pairs, separated by commas: `a=1,b=2`. Of equal keys, the last one counts.

    Attributes:
        secret: whether values must not be repeated in messages.
    """

    placeholder = "MAP"

    def __init__(self, flag: str, about: str | Option, *, secret: bool = False, **attributes: Any) -> None:
        self.secret = secret
        super().__init__(flag, about, type=_Map(), **attributes)

    def sum(self, values: Iterable[dict[str, str]]) -> dict[str, str]:
        """All pairs."""
        return {key: value for items in values for key, value in items.items()}


class ListFlag(_RepeatedFlag):
    """A flag that takes items, separated by commas: `a,b`."""

    placeholder = "LIST"

    def __init__(self, flag: str, about: str | Option, **attributes: Any) -> None:
        super().__init__(flag, about, type=_List(), **attributes)

    def sum(self, values: Iterable[list[str]]) -> list[str]:
        """All items."""
        return [item for items in values for item in items]


class TextsFlag(_RepeatedFlag):
    """A flag that takes a text each time, which is never split."""

    placeholder = "TEXTS"

    def sum(self, values: Iterable[str]) -> list[str]:
        """All texts."""
        return list(values)


class _GoType(click.ParamType):  # type: ignore[type-arg]
    def refuse(self, param: click.Parameter | None, why: str, hint: str = "") -> NoReturn:
        raise UsageError(f"{_shown(param, self.name)}: {why}", hint)


def _shown(param: click.Parameter | None, otherwise: str) -> str:
    """What to call a flag or an argument in messages."""
    return f"-{param.flag}" if isinstance(param, Flag) else (param.name or otherwise).upper() if param else otherwise


def _check_text(value: Any, param: click.Parameter | None, name: str) -> None:
    """Refuse what no JSON and no request can carry. The value is not repeated: it may be a secret."""
    if isinstance(value, str) and re.search("[\\x00\\ud800-\\udfff]", value):
        raise UsageError(
            f"{_shown(param, name)}: the value is not UTF-8 text, or has a NUL in it",
            "write it in UTF-8, whatever the terminal's own encoding.",
        )


class _Text(_GoType):
    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        _check_text(value, param, self.name)
        return value


class PathType(click.Path):
    """A path that can be one on this machine, whether something is there or not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what no file can be called, and links that lead nowhere but to each other."""
        try:
            Path(value).stat()
        except ValueError:
            raise UsageError(f"{_shown(param, self.name)}: {value!r} has a NUL in it, as no path has") from None
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
                why = "links in a circle" if error.errno == errno.ELOOP else "longer than a path or a name can be"
                shown = value if len(value) < _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}…"
                raise UsageError(f"{_shown(param, self.name)}: {shown!r}: {why}") from None
        return super().convert(value, param, ctx)


class _Integer(_GoType):
    name = "int"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ARG002
        if isinstance(value, int):
            return value
        text = str(value)
        digits = text.replace("_", "")
        if not _INTEGER.fullmatch(digits):
            shown = text if len(text) < _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
            self.refuse(param, f"{shown!r} is not a whole number")
        octal = re.fullmatch(r"([+-]?)0([0-7]+)", digits)
        # No number of 64 bits is longer, and Python refuses to read one of thousands of digits.
        number = int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0) if len(digits) < _LONGEST_SHOWN else 1 << 63
        if not -(1 << 63) <= number < 1 << 63:
            self.refuse(param, "the number does not fit into 64 bits")
        return number


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
        _check_text(value, param, self.name)
        result: dict[str, str] = {}
        for number, item in enumerate(value.split(",") if value else [], start=1):
            key, equals, rest = item.partition("=")
            if not equals or not key:
                secret = isinstance(param, MapFlag) and param.secret
                what = f"item {number} (not shown)" if secret else repr(item)
                self.refuse(param, f"{what} is not of the form key=value", "a value cannot hold a comma.")
            result[key] = rest
        return result


class _List(_GoType):
    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:  # noqa: ARG002
        _check_text(value, param, self.name)
        return value if isinstance(value, list) else [item for item in value.split(",") if item]


class Candidates(click.ParamType):  # type: ignore[type-arg]
    """Takes a text, and completes it to one of some names.

    Args:
        name: what the text is.
        find: gives the names for a command's context; empty for those of files.
    """

    def __init__(self, name: str, find: Callable[[click.Context, str], "list[CompletionItem[str]]"]) -> None:
        self.name = name
        self._find = find

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """Take any text."""
        _check_text(value, param, self.name)
        return value

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> "list[CompletionItem[str]]":
        """What could complete a text."""
        return self._find(ctx, incomplete)


def flag_names(flags: Iterable[Flag]) -> Naming:
    """Fields as users of these flags know them; a field that no flag sets, nor one that holds it, keeps its path."""
    by_field = {tuple(flag.field.split(".")): flag for flag in reversed([*flags]) if flag.field}

    def name(field: FieldPath) -> str:
        key = field.key
        flag = next((by_field[key[:length]] for length in range(len(key), 0, -1) if key[:length] in by_field), None)
        if flag is None:
            return str(field)
        shown = f"-{flag.flag}" if field.value is None else flag.setting(field.value)
        return f"{shown} ({field.path})" if field.exact else shown

    return name


def name_flags(flags: Sequence[Flag]) -> None:
    """Let the help of these flags name other flags where it is about their fields."""
    names = flag_names(flags)
    for flag in flags:
        flag.help = named(flag.about, names)


def spec_fields(flags: Iterable[Flag], values: Mapping[str, Any], below: str = "") -> dict[str, Any]:
    """What flags say about a build, in the shape of its specification.

    Args:
        flags: the flags of a command; those without a field are passed over.
        values: their values, by parameter name. Unset and empty ones are passed over: defaults are the
            specification's.
        below: the part of the specification that is wanted: `steps.install-gpu.`; by default all of it.

    Returns:
        Nested dictionaries, for example `{"builder": {"zones": ["us-west1-b"]}}`.
    """
    spec: dict[str, Any] = {}
    for flag in flags:
        value = values.get(flag.name or "")
        if not flag.field or not flag.field.startswith(below) or not value:
            continue
        *parents, last = flag.field.removeprefix(below).split(".")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = flag.field_value(value)
    return spec
