"""What a flag is: its name, what help says of it, and the field of a specification that it sets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import click

from cos_customizer.cli.flag_values import Text
from cos_customizer.customizer.fields import FieldPath, Message, Naming, Option, named


class Flag(click.Option):
    """A flag that takes a text.

    Attributes:
        flag: its name without hyphens.
        about: what it means, not yet with other flags' names in it; `help` has them.
        example: a value worth showing, written as the whole flag.
        field: dotted path of the field that it sets; empty if none.
        needed: whether its command refuses to run without it, before all else. (A field that is required is missed
            with all other faults of a specification.)
        names_file: whether its value is a file, or several: what people write without the flag.
    """

    takes_value: ClassVar[bool] = True
    value_is_optional: ClassVar[bool] = False
    """Whether `-flag` alone means something, too: then a value is never written after a blank."""
    sets_false: ClassVar[bool] = False
    """Whether `-flag=false` says something that its absence does not."""
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
        names_file: bool = False,
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
            names_file: its value is a file, or several.
            completer: how its value is completed, and checked.
            attributes: of `click.Option`.
        """
        self.flag, self.example, self.field, self.needed = flag, example, field, needed
        self.names_file = names_file
        if isinstance(about, Option):
            self.field, default = about.path, self.default_of(about)
        if needed or (isinstance(about, Option) and about.required):
            also = f"{also} Required.".lstrip()
        about = self.meaning_of(about) if isinstance(about, Option) else about
        self.about = Message("{} {}", about, also) if also else about
        if completer:
            attributes["type"] = completer
        attributes.setdefault("type", Text())
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
        if self.value_is_optional:
            return f"-{self.flag}[={self.metavar}]"
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
        given = value is not None if flag.sets_false else value
        if not flag.field or not flag.field.startswith(below) or not given:
            continue
        *parents, last = flag.field.removeprefix(below).split(".")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = flag.field_value(value)
    return spec
