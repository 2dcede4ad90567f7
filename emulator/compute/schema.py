"""Checks request bodies against the types of google-cloud-compute, the API's own published schema.

Importing this module takes most of a second, which is why only the server does it.
"""

from collections.abc import Mapping
from typing import Any

from google.cloud import compute_v1
from google.protobuf.descriptor import Descriptor, FieldDescriptor  # type: ignore[import-untyped]

from cos_customizer.emulator.errors import ApiError

_INTEGERS = {
    FieldDescriptor.TYPE_INT32: ("TYPE_INT32", -(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_INT64: ("TYPE_INT64", -(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT32: ("TYPE_UINT32", 0, (1 << 32) - 1),
    FieldDescriptor.TYPE_UINT64: ("TYPE_UINT64", 0, (1 << 64) - 1),
}
_LONG = (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64)


def check_body(type_name: str, body: object) -> dict[str, Any]:
    """Return the body in the API's own form: camelCase names, 64-bit numbers as text, no nulls, in lists neither.

    Args:
        type_name: a message of `google.cloud.compute_v1`, for example `Instance`.
        body: the decoded JSON of the request.

    Raises:
        ApiError: 400 with the path of the field: an unknown name, a wrong type or an unknown enum value.
    """
    descriptor: Descriptor = getattr(compute_v1, type_name).meta.pb.DESCRIPTOR
    return _message(descriptor, body, "")


def _message(descriptor: Descriptor, value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong_type(at, "TYPE_MESSAGE", value)
    fields = {f.json_name: f for f in descriptor.fields} | {f.name: f for f in descriptor.fields}
    checked: dict[str, Any] = {}
    for name, item in value.items():
        field = fields.get(name)
        if field is None:
            where = f" at '{at}'" if at else ""
            message = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
            raise ApiError(400, "badRequest", message)
        if item is not None:
            inner = f"{at}.{field.json_name}" if at else str(field.json_name)
            checked[field.json_name] = _field(field, item, inner)
    return checked


def _field(field: FieldDescriptor, value: object, at: str) -> Any:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        if not isinstance(value, Mapping):
            raise _wrong_type(at, "map", value)
        item = message.fields_by_name["value"]
        return {str(key): _single(item, one, f"{at}[{key}]") for key, one in value.items()}
    if field.is_repeated:
        if not isinstance(value, list):
            raise _wrong_type(at, "repeated", value)
        # Some clients (Packer's among them) leave holes in their lists, and Compute Engine takes those.
        return [_single(field, one, f"{at}[{n}]") for n, one in enumerate(value) if one is not None]
    return _single(field, value, at)


def _single(field: FieldDescriptor, value: object, at: str) -> Any:
    if field.message_type is not None:
        return _message(field.message_type, value, at)
    if field.type in _INTEGERS:
        return _integer(field, value, at)
    if field.type == FieldDescriptor.TYPE_BOOL:
        if not isinstance(value, bool):
            raise _wrong_type(at, "TYPE_BOOL", value)
        return value
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong_type(at, "TYPE_DOUBLE", value)
        return value
    if not isinstance(value, str):
        raise _wrong_type(at, "TYPE_STRING", value)
    _check_enum(field, value, at)
    return value


def _integer(field: FieldDescriptor, value: object, at: str) -> int | str:
    name, low, high = _INTEGERS[field.type]
    try:
        if isinstance(value, bool) or not isinstance(value, int | str | float) or int(value) != float(value):
            raise ValueError(value)
        number = int(value)
    except (ValueError, OverflowError):
        raise _wrong_type(at, name, value) from None
    if not low <= number <= high:
        raise _wrong_type(at, name, value)
    return str(number) if field.type in _LONG else number


def _check_enum(field: FieldDescriptor, value: str, at: str) -> None:
    # The published types hold enums as text; the values stand in an enum of the field's name beside it.
    owner = field.containing_type
    name = "".join(part.capitalize() for part in str(field.name).split("_"))
    enum = owner.enum_types_by_name.get(name) if owner is not None else None
    if enum is not None and (value not in enum.values_by_name or value.startswith("UNDEFINED_")):
        allowed = ", ".join(v for v in enum.values_by_name if not v.startswith("UNDEFINED_"))
        raise ApiError(
            400, "invalid", f"Invalid value for field 'resource.{at}': '{value}'. Must be one of: {allowed}."
        )


def _wrong_type(at: str, expected: str, value: object) -> ApiError:
    where = f" at '{at}'" if at else ""
    shown = repr(value) if len(repr(value)) <= 100 else repr(value)[:100] + "…"
    return ApiError(400, "badRequest", f"Invalid value{where} ({expected}), {shown}")
