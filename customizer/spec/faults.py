"""What is wrong with a specification: each fault that pydantic finds as a message that names its field and no value."""

from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from cos_customizer.customizer.fields import FieldPath, Message, message_of
from cos_customizer.customizer.spec.steps.kinds import STEP_KINDS
from cos_customizer.customizer.spelling import did_you_mean

Place = tuple[str | int, ...]
"""Where something is in a specification: field names, keys of mappings, numbers of items from 0."""

_RULES = {
    "int_parsing": "be a whole number",
    "bool_parsing": "be true or false",
    "string_too_short": "not be empty",
}
"""What a field must do, by the name that pydantic has for the fault."""


def without_kinds(place: Place) -> Place:
    """A place without the parts that only say of which kind a step is: `steps.0.run-script.env` is `steps.0.env`."""
    return tuple(
        part
        for before, part in zip(("", *place), place, strict=False)
        if not (isinstance(before, int) and part in STEP_KINDS)
    )


def dotted(place: Place) -> str:
    """A place as people write it: `steps.0.env.FOO`."""
    return ".".join(map(str, without_kinds(place)))


def place_of(fault: ErrorDetails) -> Place:
    """Where a fault is: of a step of no known kind, its type."""
    return (*fault["loc"], "type") if fault["type"] == "union_tag_invalid" else fault["loc"]


def explain(fault: ErrorDetails, whole: str = "a build's specification") -> Message:
    """Say what is wrong.

    Args:
        fault: one of those that pydantic has found.
        whole: what is read, with its article.
    """
    place, kind, given = fault["loc"], fault["type"], fault["input"]
    field = FieldPath(dotted(place), kind=".".join(map(str, place)), exact=True)
    head: FieldPath | str = field if place else "the specification of a build"
    if kind == "missing":
        return Message("{} must be set", head)
    if kind == "extra_forbidden":
        return Message("{} is not a field of {}", head, whole)
    if kind == "union_tag_invalid":
        return Message("{}.type must be one of {}", head, ", ".join(STEP_KINDS))
    if kind != "value_error" and given is None and place:
        return Message("{} has no value", head)
    if kind in ("model_type", "model_attributes_type"):
        return Message("{} must be a mapping of field names to values", head)
    if kind == "string_type" and isinstance(given, list | dict):
        return Message("{} must be a single value", head)
    if kind == "list_type":
        return Message("{} must be a list", head)
    if kind in _RULES:
        return Message("{} must {}", head, _RULES[kind])
    if kind != "value_error":
        return Message("{}: {}{}", head, fault["msg"][:1].lower(), fault["msg"][1:])
    text = message_of(fault["ctx"]["error"])
    if isinstance(text, Message):
        return text.below(field)
    return Message("{}: {}", head, text) if place else Message("{}", text)


def hint_for(fault: ErrorDetails, model: type[BaseModel]) -> str:
    """What to do about a fault of a recipe, if there is something to say about it in particular.

    Args:
        fault: one of those that pydantic has found.
        model: that the whole is read as.
    """
    place, kind = fault["loc"], fault["type"]
    if kind == "extra_forbidden":
        above = _model_at(model, place[:-1])
        name = str(place[-1])
        near = did_you_mean(name, above.model_fields if above else (), dotted((*place[:-1], "")))
        return near or (f"did you mean {' or '.join(found)}?" if (found := _fields_called(name, model)) else "")
    if kind == "union_tag_invalid":
        return did_you_mean(str(fault["ctx"]["tag"]), STEP_KINDS)
    if kind == "string_type" and fault["input"] is None:
        return "'' is an empty text."
    if kind == "string_type":
        return "a text that begins with [ or { needs quotation marks in YAML."
    if kind == "list_type" and fault["input"] is not None:
        return "a list of one item is that item in brackets: [ITEM]."
    if kind != "value_error" and fault["input"] is None:
        return f"give {dotted(place)} one, or take the field out."
    return ""


def _fields_called(name: str, model: type[BaseModel]) -> list[str]:
    """The fields of a name that are one level below the top."""
    below = {above: _only_model(field.annotation) for above, field in model.model_fields.items()}
    return [f"{above}.{name}" for above, each in below.items() if each and name in each.model_fields]


def _model_at(model: type[BaseModel] | None, place: Place) -> type[BaseModel] | None:
    """The model that a place in another holds, if it holds one of a known kind."""
    for before, part in zip(("", *place), place, strict=False):
        if isinstance(part, int):
            continue
        if isinstance(before, int) and part in STEP_KINDS:
            model = STEP_KINDS[part]
        elif model is None or part not in model.model_fields:
            return None
        else:
            model = _only_model(model.model_fields[part].annotation)
    return model


def _only_model(annotation: Any) -> type[BaseModel] | None:
    """The one model that a type is made of: of `list[Annotated[RunScript, …]]`, RunScript; None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = {model for argument in get_args(annotation) if (model := _only_model(argument))}
    return models.pop() if len(models) == 1 else None
