"""The Cloud KMS v1 REST API over HTTP (https://cloud.google.com/kms/docs/reference/rest): keys that sign.

Programs of this machine find it on Compute Engine's port: their paths do not collide.
"""

import base64
from typing import Any

from flask import Blueprint, Response, request

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.kms.store import Keys, Resource, checksum
from cos_customizer.emulator.projects import check_project, check_writable
from cos_customizer.emulator.web import answer, json_object, service

kms_api = Blueprint("kms", __name__, url_prefix="/v1/projects/<project>/locations/<location>/keyRings")
_RING = "/<ring>"
_KEYS = f"{_RING}/cryptoKeys"
_KEY = f"{_KEYS}/<key>"
_VERSIONS = f"{_KEY}/cryptoKeyVersions"
_VERSION = f"{_VERSIONS}/<version>"


def _keys() -> Keys:
    return service(Keys)


def _name(project: str, location: str, ring: str = "", key: str = "", version: str = "") -> str:
    check_project(project)
    parts = [f"projects/{project}/locations/{location}"]
    for kind, value in (("keyRings", ring), ("cryptoKeys", key), ("cryptoKeyVersions", version)):
        if ":" in value:  # a method that is not there
            raise ApiError(501, "notImplemented", f"The local Cloud KMS has no {value.partition(':')[2][:100]}.")
        if value:
            parts.append(f"{kind}/{value}")
    return "/".join(parts)


@kms_api.post("")
def _create_ring(project: str, location: str) -> Response:
    check_writable(project)
    return answer(_keys().create_ring(_name(project, location), request.args.get("keyRingId", "")))


@kms_api.get("")
def _rings(project: str, location: str) -> Response:
    return _listing("keyRings", _keys().rings(_name(project, location)))


@kms_api.get(_RING)
def _ring(**names: str) -> Response:
    return answer(_keys().ring(_name(**names)))


@kms_api.post(_KEYS)
def _create_key(**names: str) -> Response:
    is_empty = request.args.get("skipInitialVersionCreation", "").lower() == "true"
    return answer(_keys().create_key(_name(**names), request.args.get("cryptoKeyId", ""), json_object(), is_empty))


@kms_api.get(_KEYS)
def _list_keys(**names: str) -> Response:
    return _listing("cryptoKeys", _keys().keys(_name(**names)))


@kms_api.get(_KEY)
def _key(**names: str) -> Response:
    return answer(_keys().key(_name(**names)))


@kms_api.post(f"{_KEY}:testIamPermissions")
def _may(**names: str) -> Response:
    """There is no IAM here: everybody may do everything."""
    _keys().key(_name(**names))
    asked = json_object().get("permissions")
    return answer({"permissions": asked if isinstance(asked, list) else []})


@kms_api.post(_VERSIONS)
def _create_version(**names: str) -> Response:
    return answer(_keys().create_version(_name(**names)))


@kms_api.get(_VERSIONS)
def _versions(**names: str) -> Response:
    return _listing("cryptoKeyVersions", _keys().versions(_name(**names)))


@kms_api.get(_VERSION)
def _version(**names: str) -> Response:
    return answer(_keys().version(_name(**names)))


@kms_api.patch(_VERSION)
def _patch_version(**names: str) -> Response:
    if request.args.get("updateMask") != "state":
        raise ApiError(501, "notImplemented", "The local Cloud KMS changes nothing of a version but its state.")
    return answer(_keys().set_state(_name(**names), json_object().get("state")))


@kms_api.post(f"{_VERSION}:destroy")
def _destroy(**names: str) -> Response:
    return answer(_keys().destroy(_name(**names)))


@kms_api.post(f"{_VERSION}:restore")
def _restore(**names: str) -> Response:
    return answer(_keys().restore(_name(**names)))


@kms_api.get(f"{_VERSION}/publicKey")
def _public_key(**names: str) -> Response:
    return answer(_keys().public_key(_name(**names)))


@kms_api.post(f"{_VERSION}:asymmetricSign")
def _sign(**names: str) -> Response:
    name, body = _name(**names), json_object()
    digest = body.get("digest") or {}
    if not isinstance(digest, dict):
        raise _invalid("digest must be a mapping")
    digests = {kind: _bytes(f"digest.{kind}", value) for kind, value in digest.items()}
    data = _bytes("data", body["data"]) if body.get("data") is not None else None
    for field, value in (("digestCrc32c", next(iter(digests.values()), b"")), ("dataCrc32c", data or b"")):
        if body.get(field) is not None and str(body[field]) != checksum(value):
            raise _invalid(f"The checksum in {field} does not match.")
    signature = _keys().sign(name, digests, data)
    return answer(
        {
            "signature": base64.b64encode(signature).decode(),
            "signatureCrc32c": checksum(signature),
            "verifiedDigestCrc32c": body.get("digestCrc32c") is not None,
            "verifiedDataCrc32c": body.get("dataCrc32c") is not None,
            "name": name,
            "protectionLevel": "SOFTWARE",
        }
    )


@kms_api.route("/<path:rest>", methods=["GET", "POST", "PATCH", "DELETE"])
def _other(project: str, location: str, rest: str) -> Response:
    raise ApiError(501, "notImplemented", f"The local Cloud KMS has no {rest[:200]} of {project} in {location}.")


def _bytes(field: str, value: Any) -> bytes:
    try:
        return base64.b64decode(str(value).translate(str.maketrans("-_", "+/")), validate=True)
    except ValueError:
        raise _invalid(f"{field}: Base64 decoding failed") from None


def _invalid(message: str) -> ApiError:
    return ApiError(400, "badRequest", message)


def _listing(kind: str, resources: list[Resource]) -> Response:
    """A whole list: there are never so many keys here that it takes pages."""
    return answer({kind: resources, "totalSize": len(resources)} if resources else {})
