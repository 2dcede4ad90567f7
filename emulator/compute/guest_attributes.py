"""The answers to `instances.getGuestAttributes`.

https://cloud.google.com/compute/docs/reference/rest/v1/instances/getGuestAttributes
"""

from collections.abc import Mapping
from typing import Any

from cos_customizer.emulator.compute.references import link
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.machines.guest_attributes import DISABLED


def guest_attributes_answer(
    path: str, found: Mapping[str, Mapping[str, str]] | None, query_path: str, variable_key: str
) -> dict[str, Any]:
    """Return the answer about an instance's guest attributes.

    Args:
        path: of the instance.
        found: the values by namespace and key; None if the instance's metadata does not allow any.
        query_path: what is wanted: nothing for all, `NAMESPACE/`, or `NAMESPACE/KEY`.
        variable_key: `NAMESPACE/KEY`, in place of a path, for the value alone.

    Raises:
        ApiError: 412 if there may be none, 404 if there are none, 400 for both parameters at once.
    """
    if found is None:
        raise ApiError(412, "conditionNotMet", DISABLED)
    if query_path and variable_key:
        raise ApiError(400, "invalid", "At most one of queryPath and variableKey can be given.")
    shown = {"kind": "compute#guestAttributes", "selfLink": link(f"{path}/getGuestAttributes")}
    if variable_key:
        namespace, _, key = variable_key.partition("/")
        value = found.get(namespace, {}).get(key)
        if value is None:
            raise _none(variable_key)
        return {**shown, "variableKey": variable_key, "variableValue": value}
    wanted, _, key = query_path.strip("/").partition("/")
    items = [
        {"namespace": namespace, "key": name, "value": value}
        for namespace, values in found.items()
        for name, value in values.items()
        if wanted in ("", namespace) and key in ("", name)
    ]
    if not items:
        raise _none(query_path)
    return {**shown, "queryPath": query_path, "queryValue": {"items": items}}


def _none(wanted: str) -> ApiError:
    return ApiError(404, "notFound", f"The resource '{wanted}' of type 'Guest Attribute' was not found.")
