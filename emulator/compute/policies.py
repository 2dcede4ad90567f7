"""IAM policies of resources: kept and given back. Nobody is refused anything here, whatever they say.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/images/setIamPolicy.
"""

from typing import Any

from cos_customizer.emulator.compute.labels import fingerprint
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.errors import ApiError

_EMPTY: dict[str, Any] = {"version": 1}


class Policies:
    """The policies of all resources that may have one."""

    def __init__(self, shared: SharedParts) -> None:
        self._shared = shared

    def get(self, path: str) -> dict[str, Any]:
        """Return a resource's policy.

        Raises:
            ApiError: 404.
        """
        policy = self._shared.store.find(self._kept(path)) or _EMPTY
        return {**policy, "etag": fingerprint(policy)}

    def set(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Replace a resource's policy; returns it.

        Args:
            path: of the resource.
            body: a `GlobalSetPolicyRequest`, checked against the schema.

        Raises:
            ApiError: 404, 400, or 412 if the policy was changed meanwhile.
        """
        policy = body.get("policy") or {"bindings": body.get("bindings", [])}
        given = policy.get("etag") or body.get("etag")
        if given and given != self.get(path)["etag"]:
            raise ApiError(412, "conditionNotMet", "There were concurrent policy changes. Please retry.")
        for number, binding in enumerate(policy.get("bindings", [])):
            if not binding.get("role", "").startswith(("roles/", "projects/", "organizations/")):
                message = f"Invalid value for field 'policy.bindings[{number}].role': '{binding.get('role', '')}'."
                raise ApiError(400, "invalid", message)
        kept = {key: value for key, value in policy.items() if key in ("version", "bindings", "auditConfigs")}
        self._shared.store.put(self._kept(path), {**_EMPTY, **kept})
        return self.get(path)

    def test(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return which permissions the caller has on a resource: all of them.

        Raises:
            ApiError: 404.
        """
        self._shared.store.get(path)
        return {"permissions": body["permissions"]} if body.get("permissions") else {}

    def _kept(self, path: str) -> str:
        """Where a resource's policy is: by its id, so that another one of its name has none of it."""
        return f"projects/{path.split('/')[1]}/emulator/policy-{self._shared.store.get(path)['id']}"
