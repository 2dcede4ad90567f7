"""The Secret Manager v1 REST API over HTTP (https://cloud.google.com/secret-manager/docs/reference/rest).

Programs of this machine find it on Compute Engine's port: their paths do not collide. Guests, which must not reach that
one, find it on a port of its own, where every request needs the token of a VM.
"""

import base64
from typing import cast

from flask import Blueprint, Response, request

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.projects import check_writable, project_number
from cos_customizer.emulator.secret_manager.requests import Resource, matching, page_of
from cos_customizer.emulator.secret_manager.store import Change, Secrets, checksum
from cos_customizer.emulator.web import answer, json_object, service

secret_manager_api = Blueprint("secret_manager", __name__, url_prefix="/v1/projects/<project>")
_SECRET, _VERSION = "/secrets/<secret>", "/secrets/<secret>/versions/<version>"


def _secrets() -> Secrets:
    return service(Secrets)


def _body() -> Resource:
    """Return the request's body, without what it says it does not say."""
    return {field: value for field, value in json_object().items() if value is not None}


def _parent(project: str) -> str:
    """Return the project's name as resources have it: by its number, whichever way the request has it."""
    return f"projects/{project if project.isdecimal() else project_number(project)}"


def _name(project: str, secret: str) -> str:
    return f"{_parent(project)}/secrets/{secret}"


@secret_manager_api.post("/secrets")
def _create(project: str) -> Response:
    check_writable(project)
    return answer(_secrets().create(_parent(project), request.args.get("secretId", ""), _body()))


@secret_manager_api.get("/secrets")
def _list(project: str) -> Response:
    return _listing("secrets", _secrets().under(_parent(project)))


@secret_manager_api.get(_SECRET)
def _get(project: str, secret: str) -> Response:
    return answer(_secrets().get(_name(project, secret)))


@secret_manager_api.patch(_SECRET)
def _patch(project: str, secret: str) -> Response:
    return answer(_secrets().patch(_name(project, secret), _body(), request.args.get("updateMask", "")))


@secret_manager_api.delete(_SECRET)
def _delete(project: str, secret: str) -> Response:
    _secrets().delete(_name(project, secret), request.args.get("etag", ""))
    return answer({})


@secret_manager_api.post(f"{_SECRET}:addVersion")
def _add_version(project: str, secret: str) -> Response:
    return answer(_secrets().add_version(_name(project, secret), _body()))


@secret_manager_api.get(f"{_SECRET}/versions")
def _list_versions(project: str, secret: str) -> Response:
    return _listing("versions", _secrets().versions(_name(project, secret)))


@secret_manager_api.get(_VERSION)
def _get_version(project: str, secret: str, version: str) -> Response:
    return answer(_secrets().version(_name(project, secret), version))


@secret_manager_api.get(f"{_VERSION}:access")
def _access(project: str, secret: str, version: str) -> Response:
    found, value = _secrets().access(_name(project, secret), version)
    payload = {"data": base64.b64encode(value).decode(), "dataCrc32c": checksum(value)}
    return answer({"name": found["name"], "payload": payload})


@secret_manager_api.post(f"{_VERSION}:<any(enable, disable, destroy):change>")
def _change(project: str, secret: str, version: str, change: str) -> Response:
    etag = _body().get("etag", "")
    return answer(_secrets().change(_name(project, secret), version, cast(Change, change), str(etag)))


@secret_manager_api.route("/locations/<path:rest>", methods=["GET", "POST", "PATCH", "DELETE"])
def _regional(project: str, rest: str) -> Response:
    raise ApiError(501, "notImplemented", f"The local Secret Manager has no regional secrets: {project}, {rest[:100]}")


@secret_manager_api.route(
    "/secrets/<secret>:<any(getIamPolicy, setIamPolicy, testIamPermissions):method>", methods=["GET", "POST"]
)
def _iam(project: str, secret: str, method: str) -> Response:
    raise ApiError(501, "notImplemented", f"The local cloud has no IAM: no {method} of {project}, {secret}")


def _listing(kind: str, resources: list[Resource]) -> Response:
    found = matching(resources, request.args.get("filter", ""))
    page, token = page_of(found, request.args.get("pageSize", ""), request.args.get("pageToken", ""))
    return answer({kind: page, "totalSize": len(found), **({"nextPageToken": token} if token else {})})
