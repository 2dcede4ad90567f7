"""Kinds of flags, each for values of one kind: paths, switches, numbers, durations, choices, pairs, lists."""

from collections.abc import Iterable, Sequence
from typing import Any

import click

from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_values import (
    Choice,
    DelimitedPairs,
    Duration,
    Integer,
    Items,
    Pairs,
    PathType,
    Seconds,
    SwitchOrItems,
)
from cos_customizer.customizer.fields import Message, Option


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
        completer = PathType(file_okay=only != "directory", allow_dash=True)
        super().__init__(flag, about, completer=completer, names_file=True, **attributes)


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


class DecidingFlag(SwitchFlag):
    """A switch whose field is neither on nor off where it is not given."""

    sets_false = True

    def default_of(self, option: Option) -> Any:
        """The value that the flag has where it is not given."""
        return option.default


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


class SwitchOrListFlag(Flag):
    """A switch that may say for which items it is on: `-flag`, `-flag=a,b`, `-flag=false`."""

    placeholder = "LIST"
    value_is_optional = True

    def __init__(self, flag: str, about: str | Option, **attributes: Any) -> None:
        super().__init__(flag, about, type=SwitchOrItems(), **attributes)

    def setting(self, value: str | int | bool) -> str:
        """How one writes that its field has this value."""
        return f"-{self.flag}" if value is True else super().setting(value)


class IntegerFlag(Flag):
    """A flag that takes a whole number, as Go writes it: `50`, `0x32`, `5_0`."""

    placeholder = "INT"

    def __init__(self, flag: str, about: str | Option, **attributes: Any) -> None:
        super().__init__(flag, about, type=Integer(), **attributes)


class SecondsFlag(Flag):
    """A flag that takes a number of seconds, or a duration: `86400`, `1h30m`, `30d`. Its value is in seconds."""

    placeholder = "DURATION"

    def __init__(self, flag: str, about: str | Option, **attributes: Any) -> None:
        super().__init__(flag, about, type=Seconds(), **attributes)


class DurationFlag(Flag):
    """A flag that takes a Go duration: `1h30m`."""

    placeholder = "DURATION"

    def __init__(self, flag: str, about: str | Option, **attributes: Any) -> None:
        super().__init__(flag, about, type=Duration(), **attributes)


class ChoiceFlag(Flag):
    """A flag that takes one of a few words."""

    placeholder = "CHOICE"

    def __init__(self, flag: str, about: str | Option, *, choices: Sequence[str], **attributes: Any) -> None:
        self.choices = tuple(choices)
        super().__init__(flag, about, type=Choice(choices), **attributes)

    def default_of(self, option: Option) -> str | None:
        """The field's default, in the letters of the command line's words."""
        if option.default is None:
            return None
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
    """A flag that takes pairs, separated by commas: `a=1,b=2`. Of equal keys, the last one counts."""

    placeholder = "MAP"

    def __init__(self, flag: str, about: str | Option, *, secret: bool = False, **attributes: Any) -> None:
        """Declare a flag.

        Args:
            flag: its name without hyphens.
            about: what it means.
            secret: whether messages must not repeat values.
            attributes: of `Flag`.
        """
        super().__init__(flag, about, type=Pairs(secret), **attributes)

    def sum(self, values: Iterable[dict[str, str]]) -> dict[str, str]:
        """All pairs."""
        return {key: value for items in values for key, value in items.items()}


class DelimitedMapFlag(MapFlag):
    """A `MapFlag` whose text may begin with another delimiter: `^;^a=1,2;b=3`."""

    def __init__(self, flag: str, about: str | Option, **attributes: Any) -> None:
        super().__init__(flag, about, **attributes)
        self.type = DelimitedPairs()


class ListFlag(_RepeatedFlag):
    """A flag that takes items, separated by commas: `a,b`."""

    placeholder = "LIST"

    def __init__(self, flag: str, about: str | Option, **attributes: Any) -> None:
        super().__init__(flag, about, type=Items(), **attributes)

    def sum(self, values: Iterable[list[str]]) -> list[str]:
        """All items."""
        return [item for items in values for item in items]


class TextsFlag(_RepeatedFlag):
    """A flag that takes a text each time, which is never split."""

    placeholder = "TEXTS"

    def sum(self, values: Iterable[str]) -> list[str]:
        """All texts."""
        return list(values)


RECIPES_FLAG = ListFlag(
    "recipe",
    "Files of recipes, or patterns such as recipes/*.yaml. Required.",
    value="FILE,…",
    names_file=True,
    example="-recipe='recipes/*.yaml'",
)
