"""What all models of a specification share."""

import re
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cos_customizer.customizer.fields import Option, named


def _title(model: type) -> str:
    """What a form calls a model: `Builder VM` for `BuilderVm`."""
    first, *others = re.findall("[A-Z][a-z]*", model.__name__)
    return " ".join([first, *("VM" if word == "Vm" else word.lower() for word in others)])


class Model(BaseModel):
    """Frozen, and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", model_title_generator=_title)


def field(option: Option, **rules: Any) -> Any:
    """The field of a model whose meaning and default stand in an option. Its neighbours are mentioned by name alone.

    Args:
        option: of this field.
        rules: what pydantic's `Field` takes beside them: `ge`, `min_length`.
    """
    above = f"{option.path.rpartition('.')[0]}."
    text = named(option.text, lambda other: str(replace(other, path=other.path.removeprefix(above))))
    if option.required:
        return Field(description=text, **rules)
    if callable(option.default):
        return Field(default_factory=option.default, description=text, **rules)
    return Field(option.default, description=text, **rules)
