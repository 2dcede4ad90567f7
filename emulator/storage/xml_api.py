"""The XML API, as far as it is there: objects by `/BUCKET/OBJECT`, their lists, and uploads in parts.

Source: https://cloud.google.com/storage/docs/xml-api/reference-methods. Addresses are the path's alone: a bucket's own
host name would not pass the gate.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.storage.conditions import Conditions
from cos_customizer.emulator.storage.downloads import content, object_headers
from cos_customizer.emulator.storage.drafts import sums_in_headers
from cos_customizer.emulator.storage.listing import MOST, Wish, from_token, page, to_token
from cos_customizer.emulator.storage.names import check_new_object
from cos_customizer.emulator.storage.objects import Objects
from cos_customizer.emulator.storage.requests import Answer, Request, Resource, decoded, missing
from cos_customizer.emulator.storage.resources import check_no_customer_key, check_not_held, etag
from cos_customizer.emulator.storage.store import Store, Stored
from cos_customizer.emulator.storage.uploads import Uploads, commit

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_CODES = {
    # The code of an error by its HTTP status (https://cloud.google.com/storage/docs/xml-api/reference-status).
    400: "InvalidArgument",
    403: "AccessDenied",
    404: "NoSuchKey",
    408: "RequestTimeout",
    409: "Conflict",
    412: "PreconditionFailed",
    413: "EntityTooLarge",
    416: "InvalidRange",
    499: "Cancelled",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}
_ABSENT = (
    *("acl", "billing", "compose", "cors", "encryption", "encryptionConfig", "lifecycle", "location", "logging"),
    *("policy", "retention", "storageClass", "tagging", "versioning", "versions", "websiteConfig"),
)
_FIELDS = {
    "Content-Type": "contentType",
    "Content-Encoding": "contentEncoding",
    "Content-Disposition": "contentDisposition",
    "Content-Language": "contentLanguage",
    "Cache-Control": "cacheControl",
    "X-Goog-Custom-Time": "customTime",
    "X-Goog-Storage-Class": "storageClass",
}
_META = "x-goog-meta-"
_COPY_SOURCE = "X-Goog-Copy-Source"


class XmlObjects:
    """Objects of the XML API; the arguments after the request are the names in its path.

    Args:
        store: where they are kept.
        uploads: to it.
        objects: their methods of the JSON API.
    """

    def __init__(self, store: Store, uploads: Uploads, objects: Objects) -> None:
        self._store = store
        self._uploads = uploads
        self._objects = objects

    def get(self, request: Request, bucket: str, name: str) -> Answer:
        """Answer a GET or HEAD of an object."""
        _check_present(request)
        stored = self._found(request, bucket, name)
        answer = content(self._store, request, bucket, name, stored)
        answer.headers["ETag"] = xml_etag(stored)
        wished = ((key.removeprefix("response-"), text) for key, text in request.query.items())
        answer.headers |= {key.title(): text for key, text in wished if key in ("content-type", "content-disposition")}
        return answer

    def _found(self, request: Request, bucket: str, name: str) -> Stored:
        return self._objects.look_up(bucket, name, request.number("generation"), Conditions.in_headers(request))

    def put(self, request: Request, bucket: str, name: str) -> Answer | Resource:
        """Answer a PUT of an object: its content, or a copy of another one."""
        if "upload_id" in request.query:
            return _without_json(self._uploads.resume(request, request.query["upload_id"]))
        _check_present(request)
        self._check_new(request, bucket, name)
        if _COPY_SOURCE in request.headers:
            return self._copy(request, bucket, name)
        conditions, fields = Conditions.in_headers(request), header_fields(request)
        with self._uploads.new_draft() as draft:
            draft.add(request.body)
            sums = draft.sums_like(sums_in_headers(request.headers))
            stored = commit(self._store, bucket, name, fields, conditions, draft.path, sums)
        return _put_answer(stored)

    def _check_new(self, request: Request, bucket: str, name: str) -> None:
        self._store.check_changeable(bucket)
        self._store.bucket(bucket)
        check_new_object(name)
        check_no_customer_key(request)
        if request.headers.get("X-Goog-Acl", "private") not in ("private", "project-private"):
            raise missing("access control lists; its buckets have uniform bucket-level access")

    def _copy(self, request: Request, bucket: str, name: str) -> Answer:
        source_bucket, _, source_name = request.headers[_COPY_SOURCE].lstrip("/").partition("/")
        nothing = Conditions({}, {})
        source = self._objects.look_up(decoded(source_bucket), decoded(source_name), None, nothing)
        is_new = request.headers.get("X-Goog-Metadata-Directive", "COPY").upper() == "REPLACE"
        fields = header_fields(request) if is_new else source.resource
        copied = self._objects.put_copy(source, fields, bucket, name, Conditions.in_headers(request))
        when = copied.resource["updated"]
        return xml_answer("CopyObjectResult", [("ETag", xml_etag(copied)), ("LastModified", when)])

    def post(self, request: Request, bucket: str, name: str) -> Answer:
        """Answer a POST to an object: the beginning of a resumable upload."""
        if request.headers.get("X-Goog-Resumable", "").lower() != "start":
            raise _no_method(request)
        self._check_new(request, bucket, name)
        fields = header_fields(request)
        upload_id = self._uploads.begin(bucket, name, fields, Conditions.in_headers(request))
        path = f"{request.endpoint}{request.path}?upload_id={upload_id}"
        return Answer(201, b"", {"Location": path, "X-GUploader-UploadID": upload_id})

    def delete(self, request: Request, bucket: str, name: str) -> Answer | Resource:
        """Answer a DELETE of an object, or of a resumable upload."""
        if "upload_id" in request.query:
            return _without_json(self._uploads.resume(request, request.query["upload_id"]))
        _check_present(request)
        self._store.check_changeable(bucket)
        with self._store.lock:
            check_not_held(self._found(request, bucket, name))
            self._store.delete(bucket, name)
        return Answer(204)

    def list(self, request: Request, bucket: str) -> Answer:
        """Answer a GET of a bucket: a page of its objects, in either version of the list."""
        _check_present(request)
        self._store.bucket(bucket)
        query, is_second = request.query, request.query.get("list-type") == "2"
        after = from_token(query.get("continuation-token", "")) or query.get(
            "start-after" if is_second else "marker", ""
        )
        size = request.number("max-keys")
        most = min(MOST if size is None else size, MOST)
        wish = Wish(query.get("prefix", ""), query.get("delimiter", ""), after=after, size=most or 1)
        found = page(self._store, bucket, wish)
        if not most:
            found.objects, found.prefixes, found.last = [], [], ""
        parts: list[tuple[str, Any]] = [("Name", bucket), ("Prefix", wish.prefix), ("MaxKeys", most)]
        parts += [("Delimiter", wish.delimiter)] * bool(wish.delimiter)
        parts.append(("IsTruncated", str(bool(found.last)).lower()))
        if found.last:
            parts.append(("NextContinuationToken", to_token(found.last)) if is_second else ("NextMarker", found.last))
        if is_second:
            parts.append(("KeyCount", len(found.objects) + len(found.prefixes)))
        parts += [("Contents", _entry(stored)) for stored in found.objects]
        parts += [("CommonPrefixes", [("Prefix", prefix)]) for prefix in found.prefixes]
        return xml_answer("ListBucketResult", parts)

    def head_bucket(self, request: Request, bucket: str) -> Answer:  # noqa: ARG002
        """Answer a HEAD of a bucket."""
        self._store.bucket(bucket)
        return Answer(200)


def _entry(stored: Stored) -> list[tuple[str, Any]]:
    resource = stored.resource
    return [
        ("Key", resource["name"]),
        ("Generation", stored.generation),
        ("MetaGeneration", resource["metageneration"]),
        ("LastModified", resource["updated"]),
        ("ETag", xml_etag(stored)),
        ("Size", resource["size"]),
        ("StorageClass", resource["storageClass"]),
    ]


def header_fields(request: Request) -> Resource:
    """Return the fields of an object that a request's headers set."""
    fields: Resource = {name: request.headers[header] for header, name in _FIELDS.items() if header in request.headers}
    meta = {
        key.lower().removeprefix(_META): text for key, text in request.headers.items() if key.lower().startswith(_META)
    }
    # What was UTF-8 on its way was read as Latin-1.
    fields |= {"metadata": {_utf8(key): _utf8(text) for key, text in meta.items()}} if meta else {}
    return fields


def _utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def xml_etag(stored: Stored) -> str:
    """Return an object's ETag: its MD5 sum in hexadecimal, where it has one."""
    md5 = stored.resource.get("md5Hash")
    return f'"{base64.b64decode(md5).hex() if md5 else etag(stored.resource)}"'


def _put_answer(stored: Stored) -> Answer:
    headers = object_headers(stored)
    kept = ("X-Goog-Generation", "X-Goog-Metageneration", "X-Goog-Hash", "X-Goog-Stored-Content-Length")
    return Answer(200, b"", {**{name: headers[name] for name in kept}, "ETag": xml_etag(stored)})


def _without_json(answer: Answer | Resource) -> Answer:
    return answer if isinstance(answer, Answer) else Answer(200)


def _check_present(request: Request) -> None:
    if absent := [name for name in _ABSENT if name in request.query]:
        raise missing(f"the parameter {absent[0]} of the XML API")


def _no_method(request: Request) -> ApiError:
    return ApiError(404, "notFound", f"The local Cloud Storage has no {request.method} {request.path[:200]}")


def xml_answer(name: str, parts: list[tuple[str, Any]]) -> Answer:
    """Return an answer in XML.

    Args:
        name: of the outermost element.
        parts: what is in it: names with texts, or with parts of their own.
    """
    text = f'<?xml version="1.0" encoding="UTF-8"?><{name} xmlns="{_NAMESPACE}">{_elements(parts)}</{name}>'
    return Answer(200, text.encode(), {"Content-Type": "application/xml; charset=UTF-8"})


def _elements(parts: list[tuple[str, Any]]) -> str:
    return "".join(
        f"<{name}>{_elements(value) if isinstance(value, list) else _escaped(value)}</{name}>" for name, value in parts
    )


def _escaped(value: object) -> str:
    return escape(re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(value)))


def xml_error(error: ApiError, codes: Mapping[int, str] = _CODES) -> Answer:
    """Return the answer of the XML API to a refused request."""
    if error.code == 304:
        return Answer(304)
    code = "NoSuchBucket" if "bucket does not exist" in error.message else codes.get(error.code, "InternalError")
    shown = {"NoSuchKey": "The specified key does not exist."}.get(code, error.message)
    parts = _elements([("Code", code), ("Message", shown), ("Details", error.message)])
    text = f"<?xml version='1.0' encoding='UTF-8'?><Error>{parts}</Error>"
    return Answer(error.code, text.encode(), {"Content-Type": "application/xml; charset=UTF-8"})
