"""What is wrong with a recipe, in the words of recipes: fields, where other messages name flags."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from cos_customizer.customizer.spec.model import BuildSpec, Place, without_kinds
from cos_customizer.customizer.spec.steps.kinds import STEP_KINDS

_FLAG = re.compile(r"(?<![\w-])-[a-z][a-z0-9-]*")


def dotted(place: Place) -> str:
    """A place as people write it: `steps.0.env.FOO`."""
    return ".".join(map(str, without_kinds(place)))


def explain(fault: ErrorDetails) -> str:
    """One fault that pydantic has found in a recipe, in a sentence that names its field and no value."""
    place, kind = fault["loc"], fault["type"]
    field = dotted(place) or "the recipe"
    message = _in_fields(fault["msg"].removeprefix("Value error, ").rstrip("."), place)
    if kind == "missing":
        return f"{field} must be set"
    if kind == "extra_forbidden":
        return f"{field} is not a field of a recipe"
    if kind == "union_tag_invalid":
        return f"{field}.type must be one of {', '.join(STEP_KINDS)}"
    if kind != "value_error" and fault["input"] is None:
        return f"{field} has no value"
    if kind in ("model_type", "model_attributes_type"):
        return f"{field} must be a mapping of field names to values"
    if kind == "string_type":
        return f"{field} must be a single value"
    if kind == "list_type":
        return f"{field} must be a list"
    return f"{field}: {message[:1].lower()}{message[1:]}"


def hint_for(fault: ErrorDetails) -> str:
    """What to do about a fault, if there is something to say about it in particular."""
    place, kind = fault["loc"], fault["type"]
    if kind == "extra_forbidden":
        model = _model_at(place[:-1])
        near = difflib.get_close_matches(str(place[-1]), model.model_fields if model else (), n=1)
        return f"did you mean {dotted((*place[:-1], near[0]))}?" if near else ""
    if kind == "string_type" and fault["input"] is None:
        return "'' is an empty text."
    if kind == "string_type":
        return "a text that begins with [ or { needs quotation marks in YAML."
    if kind == "list_type" and fault["input"] is not None:
        return "a list of one item is that item in brackets: [ITEM]."
    if kind != "value_error" and fault["input"] is None:
        return f"give {dotted(place)} one, or take the field out."
    return ""


def _in_fields(message: str, place: Place) -> str:
    """A validator's message with the flags it names replaced by fields."""
    inner, outer = _model_at(place), _model_at(place[:-1])
    fields = {**_fields_by_flag(outer), **_fields_by_flag(inner)}
    return _FLAG.sub(lambda match: fields.get(match[0], match[0]), message)


def _fields_by_flag(model: type[BaseModel] | None) -> Mapping[str, str]:
    """The field that each flag sets, as a path below a model; the first where there are several."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items() if model else ():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "flag" in extra:
            flag = str(extra["flag"])
            found.setdefault(flag, f"{name}: false" if flag.startswith("-no-") else name)
        for flag, path in _fields_by_flag(_only_model(field.annotation)).items():
            found.setdefault(flag, f"{name}.{path}")
    return found


def _model_at(place: Place) -> type[BaseModel] | None:
    """The model that a place holds, if it holds one of a known kind."""
    model: type[BaseModel] | None = BuildSpec
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
