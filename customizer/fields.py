"""Fields of a specification in messages: named here by their paths, and by whoever shows the message in its own words.

The command line knows a field by the flag that sets it, a recipe and the Prefect form by its path.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True)
class FieldPath:
    """A field, as a message mentions it.

    Attributes:
        path: dotted, items of lists by number from 0: `builder.zones`, `steps.0.env`. A step's field that is meant in
            whatever step is `steps.install-gpu.version`. Parameters of other flows than the build's are names alone.
        value: what the field is set to, if the message says that too; None if it does not.
        kind: the path in which a step's number is its kind instead, where `path` has the number.
        exact: the message is about this very place, so that its path is worth showing beside another name.
    """

    path: str
    value: str | int | bool | None = None
    kind: str = ""
    exact: bool = False

    def __str__(self) -> str:
        value = str(self.value).lower() if isinstance(self.value, bool) else self.value
        return self.path if value is None else f"{self.path}: {value}"

    @property
    def key(self) -> tuple[str, ...]:
        """The path by which the field is looked up: no numbers in it."""
        return tuple(part for part in (self.kind or self.path).split(".") if part and not part.isdecimal())

    def below(self, place: "FieldPath") -> "FieldPath":
        """The field, where its path is relative to a place."""
        kind = ".".join((*place.key, *self.key))
        return replace(self, path=f"{place.path}.{self.path}" if place.path else self.path, kind=kind)


Naming = Callable[[FieldPath], str]
"""How readers of a message know fields."""


class Message(str):
    """A text that mentions fields. As a text it names their paths; `named` says it in other words.

    Args:
        template: as `str.format` takes it, with a `{}` for each value.
        values: fields, further messages, and anything else that has a text.
    """

    template: str
    values: tuple[Any, ...]

    def __new__(cls, template: str, *values: Any) -> Self:
        """See the class."""
        message = super().__new__(cls, template.format(*values))
        message.template, message.values = template, values
        return message

    def __getnewargs__(self) -> tuple[Any, ...]:  # for copies, as Prefect makes them of errors
        return (self.template, *self.values)

    def named(self, name: Naming) -> str:
        """The text in which fields are called as `name` has it."""
        return self.template.format(*(_named(value, name) for value in self.values))

    def below(self, place: FieldPath) -> "Message":
        """The message, where the paths in it are relative to a place."""
        return Message(
            self.template,
            *(value.below(place) if isinstance(value, FieldPath | Message) else value for value in self.values),
        )


def joined(separator: str, messages: Sequence[str]) -> Message:
    """Messages as one, with a text between them."""
    return Message(separator.join(["{}"] * len(messages)), *messages)


def named(text: str, name: Naming) -> str:
    """A text in which fields, if it mentions any, are called as `name` has it."""
    return text.named(name) if isinstance(text, Message) else text


def placed(text: str, place: FieldPath) -> str:
    """A text, where the paths of fields that it mentions are relative to a place."""
    return text.below(place) if isinstance(text, Message) else text


def _named(value: Any, name: Naming) -> Any:
    return name(value) if isinstance(value, FieldPath) else value.named(name) if isinstance(value, Message) else value


def message_of(error: Exception) -> str:
    """What an exception says: the `Message` that it was raised with, if it was one."""
    return error.args[0] if error.args and isinstance(error.args[0], Message) else str(error)


@dataclass(frozen=True)
class Option:
    """What models and flags share of a field, written once. No pydantic is needed to read it.

    Attributes:
        path: of the field; see `FieldPath`.
        text: what it means, for people; what a switch does if it is on.
        default: its value where it is not given; a type (`list`, `dict`) stands for a new one; None for no value.
        required: it must be given.
    """

    path: str
    text: str
    default: Any = None
    required: bool = False


def by_path(*options: Option) -> dict[str, Option]:
    """Options by the paths of their fields."""
    return {option.path: option for option in options}
