"""Buckets and objects as resources of the JSON API: which fields a client may set, and those that follow from others.

Sources: https://cloud.google.com/storage/docs/json_api/v1/buckets#resource-representations,
https://cloud.google.com/storage/docs/json_api/v1/objects#resource-representations.
"""

import base64
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.storage.requests import Request, Resource, invalid, missing
from cos_customizer.emulator.storage.store import Stored

_TEXTS = ("contentType", "contentEncoding", "contentDisposition", "contentLanguage", "cacheControl", "customTime")
_HOLDS = {"temporaryHold": "Temporary", "eventBasedHold": "Event-Based"}
_LARGEST_OWN = 8 << 10
"""Bytes of an object's metadata, names and values (cloud.google.com/storage/quotas)."""
WRITABLE = (*_TEXTS, *_HOLDS, "metadata")
"""Fields of an object that a client may change."""
_CLASSES = ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY")
_NO_EFFECT = ("private", "projectPrivate")
"""Predefined ACLs that change nothing here."""
_ACL = "access control lists; its buckets have uniform bucket-level access"
_NOT_KEPT = (
    "id",
    "kind",
    "selfLink",
    "etag",
    "projectNumber",
    "timeCreated",
    "updated",
    "metageneration",
    "generation",
)
_MULTI_REGIONS = ("US", "EU", "ASIA")


def timestamp() -> str:
    """Return the present time as Cloud Storage writes it."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def etag(resource: Mapping[str, Any]) -> str:
    """Return what identifies the state of a bucket or an object: its generations, as Google packs them."""
    packed = b""
    for number, name in enumerate(("generation", "metageneration"), 1):
        if name in resource:
            packed += bytes([number << 3]) + _varint(int(resource[name]))
    return base64.b64encode(packed).decode()


def _varint(number: int) -> bytes:
    packed = bytearray()
    while number > 127:
        packed.append(number & 127 | 128)
        number >>= 7
    return bytes([*packed, number])


def shown_object(stored: Stored, endpoint: str) -> Resource:
    """Return an object's whole resource.

    Args:
        stored: the object.
        endpoint: URL of the service as the client knows it, for links.
    """
    resource = stored.resource
    bucket, name, generation = resource["bucket"], quote(resource["name"], safe=""), stored.generation
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{resource['name']}/{generation}",
        "selfLink": f"{endpoint}/storage/v1/b/{bucket}/o/{name}",
        "mediaLink": f"{endpoint}/download/storage/v1/b/{bucket}/o/{name}?generation={generation}&alt=media",
        **resource,
        "etag": etag(resource),
    }


def shown_bucket(bucket: Resource, endpoint: str) -> Resource:
    """Return a bucket's whole resource; see `shown_object`."""
    kept = {name: value for name, value in bucket.items() if name not in ("project", "policy")}
    return {
        "kind": "storage#bucket",
        "id": bucket["name"],
        "selfLink": f"{endpoint}/storage/v1/b/{bucket['name']}",
        **kept,
        "etag": etag({"metageneration": bucket["metageneration"]}),
    }


def new_object(
    bucket: Resource, name: str, generation: int, fields: Mapping[str, Any], sums: Mapping[str, Any]
) -> Resource:
    """Return the resource of a new object, without what follows from it.

    Args:
        bucket: where.
        name: its name.
        generation: its generation.
        fields: what the client has sent.
        sums: size and checksums.
    """
    now = timestamp()
    resource = {
        "name": name,
        "bucket": bucket["name"],
        "generation": str(generation),
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": fields.get("storageClass") or bucket.get("storageClass", "STANDARD"),
        **sums,
        "timeCreated": now,
        "updated": now,
        "timeStorageClassUpdated": now,
        "timeFinalized": now,
    }
    new = merged(resource, object_fields(fields))
    if not new.get("metadata"):
        new.pop("metadata", None)
    return new


def object_fields(fields: Mapping[str, Any]) -> Resource:
    """Return the fields of an object that a client has set, checked; None stands for one to be removed.

    Raises:
        ApiError: 400.
    """
    for name in ("kmsKeyName", "customerEncryption", "retention", "contexts"):
        if fields.get(name):
            raise missing(f"an object's {name}")
    if fields.get("storageClass") not in (None, *_CLASSES):
        raise invalid(f"Invalid storage class '{str(fields['storageClass'])[:100]}'.")
    if fields.get("acl"):
        raise missing(_ACL)
    chosen = {name: fields[name] for name in WRITABLE if name in fields}
    for name, value in chosen.items():
        kind = bool if name in _HOLDS else dict if name == "metadata" else str
        if value is not None and not isinstance(value, kind):
            raise invalid(f"Invalid value for field '{name}': '{str(value)[:100]}'.")
    for key, value in (chosen.get("metadata") or {}).items():
        if value is not None and not isinstance(value, str):
            raise invalid(f"Invalid value for field 'metadata.{key[:100]}': '{str(value)[:100]}'.")
    own = "".join(f"{key}{value or ''}" for key, value in (chosen.get("metadata") or {}).items())
    if len(own.encode(errors="surrogatepass")) > _LARGEST_OWN:
        raise invalid(f"The metadata of an object cannot be larger than {_LARGEST_OWN} bytes.")
    return chosen


def check_acl(request: Request) -> None:
    """Refuse a request that sets access for single objects or for a bucket: nobody is asked who they are here.

    Raises:
        ApiError: 400.
    """
    names = ("predefinedAcl", "destinationPredefinedAcl", "predefinedDefaultObjectAcl")
    if any(request.query.get(name, "private") not in _NO_EFFECT for name in names):
        raise missing(_ACL)


def check_no_customer_key(request: Request) -> None:
    """Refuse a request that wants an object encrypted by a key of the client.

    Raises:
        ApiError: 400.
    """
    if any(name.lower().startswith("x-goog-encryption-") for name in request.headers) or "kmsKeyName" in request.query:
        raise missing("encryption keys of customers")


def check_not_held(stored: Stored) -> None:
    """Refuse to delete or to replace an object under a hold (https://cloud.google.com/storage/docs/object-holds).

    Raises:
        ApiError: 403.
    """
    for name, word in _HOLDS.items():
        if stored.resource.get(name):
            what = f"{stored.resource['bucket']}/{stored.resource['name']}"
            message = (
                f"Object '{what}' is under active {word} hold and cannot be deleted, overwritten or archived "
                "until hold is removed."
            )
            raise ApiError(403, "objectUnderActiveHold", message)


def new_bucket(name: str, project: str, number: int, fields: Mapping[str, Any]) -> Resource:
    """Return a new bucket, without what follows from it.

    Args:
        name: its name.
        project: whose it is.
        number: the project's number.
        fields: what the client has sent.

    Raises:
        ApiError: 400, a field asks for what is not there.
    """
    now, location = timestamp(), str(fields.get("location") or "US").upper()
    return {
        "name": name,
        "project": project,
        "projectNumber": str(number),
        "metageneration": "1",
        "location": location,
        "locationType": "multi-region" if location in _MULTI_REGIONS else "region",
        "storageClass": "STANDARD",
        "iamConfiguration": {
            "bucketPolicyOnly": {"enabled": True},
            "uniformBucketLevelAccess": {"enabled": True},
            "publicAccessPrevention": "inherited",
        },
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
        **{key: value for key, value in bucket_fields(fields).items() if value is not None and key != "location"},
        "timeCreated": now,
        "updated": now,
    }


def bucket_fields(fields: Mapping[str, Any]) -> Resource:
    """Return the fields of a bucket that a client has set, checked.

    What would change how its objects behave is refused; the rest is kept, and has no effect.

    Raises:
        ApiError: 400.
    """
    absent: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "versioning": ("versions of objects (object versioning)", lambda value: value.get("enabled")),
        "hierarchicalNamespace": ("hierarchical namespaces", lambda value: value.get("enabled")),
        "softDeletePolicy": ("soft deletion", lambda value: str(value.get("retentionDurationSeconds", "0")) != "0"),
        "retentionPolicy": ("retention policies", lambda value: value.get("retentionPeriod")),
        "objectRetention": ("retention of objects", bool),
        "encryption": ("encryption keys of customers", lambda value: value.get("defaultKmsKeyName")),
        "defaultEventBasedHold": ("holds by default", bool),
        "iamConfiguration": (_ACL, _wants_acl),
        "acl": (_ACL, bool),
        "defaultObjectAcl": (_ACL, bool),
    }
    for name, (words, is_wanted) in absent.items():
        value = fields.get(name)
        is_structure = not name.startswith(("default", "acl"))
        if value is not None and is_structure and not isinstance(value, dict):
            raise invalid(f"Invalid value for field '{name}': '{str(value)[:100]}'.")
        if value is not None and is_wanted(value):
            raise missing(words)
    if fields.get("storageClass") not in (None, *_CLASSES):
        raise invalid(f"Invalid storage class '{str(fields['storageClass'])[:100]}'.")
    hidden = ("name", "project", "policy", "acl", "defaultObjectAcl", *_NOT_KEPT)
    return {name: value for name, value in fields.items() if name not in hidden}


def _wants_acl(configuration: Mapping[str, Any]) -> bool:
    """Return whether a bucket is to have no uniform access, by either of its names."""
    found = (configuration.get(name) for name in ("uniformBucketLevelAccess", "bucketPolicyOnly"))
    return any(isinstance(each, dict) and each.get("enabled") is False for each in found)


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Resource:
    """Return an object's or a bucket's fields after a patch: None removes, and structures are merged."""
    result = dict(old)
    for name, value in new.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = value
    return result
