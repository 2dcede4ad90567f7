"""Values of flags: how each kind is read, and what is refused of it."""

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from cos_customizer.customizer.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

TRUE = ("1", "t", "T", "true", "TRUE", "True")
FALSE = ("0", "f", "F", "false", "FALSE", "False")
"""What Go takes for a switch that is on, and for one that is off."""

_LONGEST_SHOWN = 80
"""Characters of a value that a message repeats."""
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)")


class _GoType(click.ParamType):  # type: ignore[type-arg]
    def refuse(self, param: click.Parameter | None, why: str, hint: str = "") -> NoReturn:
        raise UsageError(f"{_shown(param, self.name)}: {why}", hint)


def _shown(param: click.Parameter | None, otherwise: str) -> str:
    """What to call a flag or an argument in messages."""
    if isinstance(param, click.Option):
        return param.opts[0]
    return (param.name or otherwise).upper() if param else otherwise


def _check_text(value: Any, param: click.Parameter | None, name: str) -> None:
    """Refuse what no JSON and no request can carry. The value is not repeated: it may be a secret."""
    if isinstance(value, str) and re.search("[\\x00\\ud800-\\udfff]", value):
        raise UsageError(
            f"{_shown(param, name)}: the value is not UTF-8 text, or has a NUL in it",
            "write it in UTF-8, whatever the terminal's own encoding.",
        )


class Text(_GoType):
    """A text of any kind."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """Refuse what is not UTF-8 text."""
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


class Integer(_GoType):
    """A whole number of 64 bits, as Go writes it: `50`, `0x32`, `5_0`."""

    name = "int"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ARG002
        """The number that a text is."""
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


class Seconds(Integer):
    """A number of seconds, or a duration of whole seconds: `86400`, `1h30m`, `30d`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of seconds that a text is."""
        from cos_customizer.customizer.durations import parse_seconds

        if isinstance(value, int) or _INTEGER.fullmatch(str(value).replace("_", "")):
            return super().convert(value, param, ctx)
        try:
            return parse_seconds(str(value))
        except ValueError as error:
            self.refuse(param, str(error), "write a duration as 30d, 1h30m, or in seconds.")


class Duration(_GoType):
    """A Go duration: `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """The duration that a text is, in its shortest form."""
        from cos_customizer.customizer.durations import format_duration, parse_duration

        try:
            return format_duration(parse_duration(value)) if value else ""
        except ValueError as error:
            self.refuse(param, str(error), "write a duration as 1h30m, 90s, 1.5h or 300ms.")


class Choice(click.Choice[str]):
    """One of a few words; an empty text is none of them, and no choice."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """One of the words, as it is written there."""
        if value == "":  # as Go has it: an empty string is an unset flag
            return ""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            words = ", ".join(map(str, self.choices))
            raise UsageError(f"{_shown(param, self.name)}: {value!r} is not one of {words}") from None


class Pairs(_GoType):
    """Pairs: `a=1,b=2`.

    Args:
        secret: whether messages must not repeat values.
    """

    name = "map"

    def __init__(self, secret: bool = False) -> None:
        self._secret = secret

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:  # noqa: ARG002
        """The pairs of a text."""
        if isinstance(value, dict):
            return value
        _check_text(value, param, self.name)
        result: dict[str, str] = {}
        for number, item in enumerate(self._items_of(value), start=1):
            key, equals, rest = item.partition("=")
            key = key.strip()
            if not equals or not key:
                what = f"item {number} (not shown)" if self._secret else repr(item)
                self.refuse(param, f"{what} is not of the form key=value", self._on_missing_equals(param, number))
            result[key] = rest
        return result

    def _items_of(self, value: str) -> list[str]:
        return value.split(",") if value else []

    def _on_missing_equals(self, param: click.Parameter | None, number: int) -> str:
        """What to do about an item that is no pair: the first one lacks a value, others have lost their key."""
        if number == 1:
            return f"write {_shown(param, self.name)}=KEY=VALUE."
        commas = "a value cannot hold a comma"
        if not self._secret:
            return f"{commas}; pairs are written KEY=VALUE,KEY=VALUE."
        return f"{commas} here; a recipe's can: `cos-customizer build -recipe=FILE -set steps.0.env.KEY=a,b,c`."


class DelimitedPairs(Pairs):
    """Pairs whose delimiter can be another one, as gcloud has it: `^;^a=1,2;b=3` (`gcloud topic escaping`)."""

    def _items_of(self, value: str) -> list[str]:
        other = re.match(r"\^([^^=]+)\^", value)
        return value[other.end() :].split(other[1]) if other else super()._items_of(value)

    def _on_missing_equals(self, param: click.Parameter | None, number: int) -> str:
        if number == 1:
            return super()._on_missing_equals(param, number)
        return f"for a value with a comma choose another delimiter: {_shown(param, self.name)}='^;^KEY=a,b;KEY=c'."


class Items(_GoType):
    """Items of a list: `a,b`."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:  # noqa: ARG002
        """The items of a text that are not empty."""
        _check_text(value, param, self.name)
        return value if isinstance(value, list) else [item.strip() for item in value.split(",") if item.strip()]


class SwitchOrItems(Items):
    """A switch, or items of a list: `true`, `a,b`."""

    name = "switch or list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Whether it is on, or the items."""
        if isinstance(value, bool):
            return value
        return value in TRUE if value in (*TRUE, *FALSE) else super().convert(value, param, ctx)


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
