"""Routes of the IAM policies of resources."""

from flask import Response

from cos_customizer.emulator.compute.routes.blueprint import V1, checked_body, compute_api, engine, partly
from cos_customizer.emulator.projects import check_writable
from cos_customizer.emulator.web import answer

_PLACES = {
    f"{V1}/<project>/global/<any(images,snapshots,instanceTemplates):kind>/<name>": "GlobalSetPolicyRequest",
    f"{V1}/<project>/zones/<zone>/<any(disks,instances):kind>/<name>": "ZoneSetPolicyRequest",
}
"""The resources that have policies, and the type of the request that sets one."""


def _path(project: str, kind: str, name: str, zone: str) -> str:
    return f"projects/{project}/{f'zones/{zone}' if zone else 'global'}/{kind}/{name}"


def _add_routes(place: str, request_type: str) -> None:
    @compute_api.get(f"{place}/getIamPolicy", endpoint=f"get-policy {request_type}")
    def _get(project: str, kind: str, name: str, zone: str = "") -> Response:
        return answer(engine().policies.get(_path(project, kind, name, zone)))

    @compute_api.post(f"{place}/setIamPolicy", endpoint=f"set-policy {request_type}")
    @partly("effect: policies are kept, and nobody asks them")
    def _set(project: str, kind: str, name: str, zone: str = "") -> Response:
        check_writable(project)
        body = checked_body(request_type)
        with engine().change_lock:
            return answer(engine().policies.set(_path(project, kind, name, zone), body))

    @compute_api.post(f"{place}/testIamPermissions", endpoint=f"test-permissions {request_type}")
    @partly("a look at the policy: everybody has all permissions")
    def _test(project: str, kind: str, name: str, zone: str = "") -> Response:
        body = checked_body("TestPermissionsRequest")
        return answer(engine().policies.test(_path(project, kind, name, zone), body))


for _place, _type in _PLACES.items():
    _add_routes(_place, _type)
