"""Contents of objects on their way to a client: headers, ranges, and compressed ones unpacked on the way.

Sources: https://cloud.google.com/storage/docs/json_api/v1/parameters#range,
https://cloud.google.com/storage/docs/transcoding.
"""

import re
from datetime import datetime
from email.utils import format_datetime

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.storage.requests import Answer, Request
from cos_customizer.emulator.storage.resources import etag
from cos_customizer.emulator.storage.store import Store, Stored

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""The name of a header (RFC 9110, section 5.6.2)."""
_RANGE = re.compile(r"bytes=(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))\s*")
_HEADERS = {
    "contentType": "Content-Type",
    "cacheControl": "Cache-Control",
    "contentDisposition": "Content-Disposition",
    "contentEncoding": "Content-Encoding",
    "contentLanguage": "Content-Language",
}


def content(store: Store, request: Request, bucket: str, name: str, stored: Stored) -> Answer:
    """Return an object's content, or the part that was asked for.

    Args:
        store: that has it.
        request: for it; a HEAD gets the headers.
        bucket: its bucket.
        name: its name.
        stored: the object, as it was looked up.

    Raises:
        ApiError: 416, there is no such part.
    """
    headers = object_headers(stored)
    is_unpacked = _is_unpacked(request, stored)
    part = None if is_unpacked else _range(request.headers.get("Range", ""), stored.size)
    if part and part[0] >= part[1]:
        raise ApiError(416, "requestedRangeNotSatisfiable", "The requested range cannot be satisfied.")
    start, end = part or (0, stored.size)
    answer = Answer(200, b"", headers, None, start, end - start, is_unpacked)
    if is_unpacked:
        del headers["Content-Encoding"]
        headers["Warning"] = '214 UploadServer "gunzipped"'
    elif part:
        answer.status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size}"
    with store.lock:
        present = store.find(bucket, name)
        if present is None or present.generation != stored.generation:  # deleted or replaced meanwhile
            raise ApiError(404, "notFound", f"No such object: {bucket}/{name}")
        answer.media = present.open()
    return answer


def object_headers(stored: Stored) -> dict[str, str]:
    """Return the headers that describe an object.

    Metadata with a name that no header can have stands in the resource alone: clients that meet a header which they
    cannot parse drop those after it, `Content-Length` among them, and then wait for a body that has no end.
    """
    resource = stored.resource
    sums = [("crc32c", resource["crc32c"]), ("md5", resource.get("md5Hash"))]
    headers = {header: resource[name] for name, header in _HEADERS.items() if resource.get(name)}
    headers |= {
        "X-Goog-Generation": stored.generation,
        "X-Goog-Metageneration": resource["metageneration"],
        "X-Goog-Stored-Content-Encoding": resource.get("contentEncoding") or "identity",
        "X-Goog-Stored-Content-Length": resource["size"],
        "X-Goog-Hash": ",".join(f"{name}={text}" for name, text in sums if text),
        "X-Goog-Storage-Class": resource["storageClass"],
        "Accept-Ranges": "bytes",
        "ETag": etag(resource),
        "Last-Modified": format_datetime(datetime.fromisoformat(resource["updated"]), usegmt=True),
    }
    own = (resource.get("metadata") or {}).items()
    headers |= {f"X-Goog-Meta-{name}": text for name, text in own if _TOKEN.fullmatch(name)}
    return headers


def _is_unpacked(request: Request, stored: Stored) -> bool:
    accepted = [
        each.partition(";")[0].strip().lower() for each in request.headers.get("Accept-Encoding", "").split(",")
    ]
    return (
        stored.resource.get("contentEncoding") == "gzip"
        and "gzip" not in accepted
        and "no-transform" not in stored.resource.get("cacheControl", "")
    )


def _range(header: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last; None for a header that is no range, which counts for nothing."""
    found = _RANGE.fullmatch(header)
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return max(size - int(suffix), 0), size if int(suffix) else 0
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size
