"""The JSON schema of recipes, for editors: `BuildSpec`'s own, and the rules that its validators check."""

import json
from typing import Any

from cos_customizer.customizer import names
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.customizer.spec.steps.kinds import STEP_KINDS
from cos_customizer.customizer.spec.values import SECONDS_SCHEMA

Schema = dict[str, Any]

_NOISE = ("title", "discriminator")
_UNQUOTED = ["string", "number", "boolean"]
"""What YAML may take a text for; a recipe takes it as it is written."""


def recipe_schema() -> Schema:
    """The schema of recipes (https://json-schema.org/draft/2020-12).

    What it accepts, `BuildSpec` may still refuse: rules that involve Compute Engine's own, such as which machine type
    holds which GPU, are not in it.
    """
    schema: Schema = _plain(BuildSpec.model_json_schema())
    parts = schema["$defs"]
    parts["SourceImage"] |= {
        "oneOf": [_given("name"), _given("milestone"), _given("family")],
        "if": _given("milestone"),
        "then": {"properties": {"project": {"const": names.COS_PROJECT}}},
    }
    for field in schema["properties"].values():
        if (part := str(field.get("$ref", "")).rpartition("/")[2]) in parts:
            field.setdefault("description", parts[part]["description"])
    parts["OutputImage"] |= {
        "anyOf": [_given("name"), _given("suffix")],
        "allOf": [
            # Not by oneOf, of which editors say no more than that two of its branches hold.
            {"if": _given("name"), "then": {"properties": {"suffix": {"type": "null"}}}},
            {"if": _is("deprecate_old_images", {"const": True}), "then": _given("family")},
            {
                "if": _is("old_image_ttl", {"exclusiveMinimum": 0}),
                "then": _is("deprecate_old_images", {"const": True}),
            },
        ],
    }
    for part, name in (("OutputImage", "old_image_ttl"), ("BuilderVm", "keep_on_failure")):
        fields = parts[part]["properties"]
        about = {key: value for key, value in fields[name].items() if key in ("default", "description")}
        fields[name] = {**about, **SECONDS_SCHEMA}
    parts["Verification"] |= {
        "if": _is("keep_failed_image", {"const": True}),
        "then": {
            "anyOf": [
                _is("boot", {"const": True}),
                _is("scripts", {"minItems": 1}),
                _given("changes"),
                _is("require_approval", {"const": True}),
            ]
        },
    }
    waits = parts["Verification"]["properties"]["approval_timeout"]
    parts["Verification"]["properties"]["approval_timeout"] = {
        **{key: value for key, value in waits.items() if key in ("default", "description")},
        **SECONDS_SCHEMA,
    }
    for kind in STEP_KINDS.values():
        kind.refine_schema(parts[kind.__name__])
    once = [_is("type", {"const": name}) for name, kind in STEP_KINDS.items() if kind.only_once]
    schema["properties"]["steps"]["allOf"] = [{"contains": step, "minContains": 0, "maxContains": 1} for step in once]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:cos-customizer:recipe",
        "title": "Recipe of an image for cos-customizer",
        **schema,
    }


def schema_text() -> str:
    """The schema as JSON, as it is printed and kept beside the examples."""
    return json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"


def _given(field: str) -> Schema:
    """A field is there, and is not null."""
    return _is(field, {"not": {"type": "null"}})


def _is(field: str, what: Schema) -> Schema:
    return {"required": [field], "properties": {field: what}}


def _plain(schema: Any) -> Any:
    """A schema without what editors have no use for, and with texts that need no quotation marks."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {
        key: {name: _plain(field) for name, field in value.items()} if key in ("properties", "$defs") else _plain(value)
        for key, value in schema.items()
        if key not in _NOISE
    }
    if plain.get("type") == "string" and not {"const", "enum"} & plain.keys():
        plain["type"] = _UNQUOTED
    return plain
