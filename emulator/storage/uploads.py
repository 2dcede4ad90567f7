"""Uploads: in one request, with or without metadata before the content, and resumable ones.

Sources: https://cloud.google.com/storage/docs/json_api/v1/objects/insert,
https://cloud.google.com/storage/docs/performing-resumable-uploads.
"""

import re
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.request_body import DecodedBody
from cos_customizer.emulator.storage.conditions import Conditions
from cos_customizer.emulator.storage.drafts import Draft, sums_in_headers
from cos_customizer.emulator.storage.multipart import MultipartReader
from cos_customizer.emulator.storage.names import check_new_object
from cos_customizer.emulator.storage.requests import Answer, Request, Resource, invalid, json_object
from cos_customizer.emulator.storage.resources import (
    check_acl,
    check_no_customer_key,
    check_not_held,
    new_object,
    object_fields,
    shown_object,
)
from cos_customizer.emulator.storage.store import Store, Stored

SMALLEST_CHUNK = 256 << 10
"""Bytes that a request to a resumable upload has at least, the last one aside."""
_RANGE = re.compile(r"bytes (?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19}|\*)")


def commit(
    store: Store,
    bucket: str,
    name: str,
    fields: Mapping[str, Any],
    conditions: Conditions,
    file: Path,
    sums: Mapping[str, Any],
) -> Stored:
    """Make an object of a draft.

    Args:
        store: where.
        bucket: of the object.
        name: of the object.
        fields: of the object, as the client has sent them.
        conditions: that have to hold.
        file: the draft, which is taken.
        sums: its size and checksums.

    Raises:
        ApiError: 400, 403, 404 or 412.
    """
    with store.lock:
        before = store.find(bucket, name)
        resource = store.bucket(bucket)
        conditions.check(before.resource if before else None)
        if before is not None:
            check_not_held(before)
        new = new_object(resource, name, store.next_generation(), fields, sums)
        return store.put(bucket, name, new, file)


class Uploads:
    """The uploads to a store.

    Args:
        store: where objects are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._drafts: dict[str, Draft] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    @contextmanager
    def new_draft(self) -> Iterator[Draft]:
        """A draft for one request; what is not taken of it goes in the end."""
        draft = Draft(self._store.draft_path(secrets.token_hex(16)))
        try:
            yield draft
        finally:
            draft.path.unlink(missing_ok=True)

    def insert(self, request: Request, bucket: str) -> Resource | Answer:
        """Answer `objects.insert`, or go on with a resumable upload.

        Raises:
            ApiError: the upload is refused.
        """
        query = request.query
        if "upload_id" in query:
            return self.resume(request, query["upload_id"])
        kinds: dict[str, Callable[[Request, str], Resource | Answer]] = {
            "media": self._insert_media,
            "multipart": self._insert_multipart,
            "resumable": self._begin,
        }
        if request.method != "POST" or query.get("uploadType") not in kinds:
            raise invalid("Upload requests must have an uploadType (media, multipart or resumable), or an upload_id.")
        self._store.check_changeable(bucket)
        self._store.bucket(bucket)
        check_acl(request)
        check_no_customer_key(request)
        return kinds[query["uploadType"]](request, bucket)

    def _fields(self, request: Request, sent: Resource) -> tuple[str, Resource]:
        query = request.query
        name = query.get("name", sent.get("name"))
        if not isinstance(name, str) or not name:
            raise ApiError(400, "required", "Required")
        check_new_object(name)
        fields = {**sent, **({"contentEncoding": query["contentEncoding"]} if "contentEncoding" in query else {})}
        object_fields(fields)
        return name, fields

    def _insert_media(self, request: Request, bucket: str) -> Resource:
        name, fields = self._fields(request, {})
        if kind := request.headers.get("Content-Type"):
            fields["contentType"] = kind
        conditions = Conditions.of(request)
        with self.new_draft() as draft:
            draft.add(_unpacked(request))
            sums = draft.sums_like(sums_in_headers(request.headers))
            stored = commit(self._store, bucket, name, fields, conditions, draft.path, sums)
        return shown_object(stored, request.endpoint)

    def _insert_multipart(self, request: Request, bucket: str) -> Resource:
        reader = MultipartReader(_unpacked(request), request.headers.get("Content-Type", ""))
        reader.next_part()
        sent = json_object(reader.read_all())
        headers = reader.next_part()
        name, fields = self._fields(request, sent)
        if kind := headers.get("Content-Type"):
            fields.setdefault("contentType", kind)
        conditions = Conditions.of(request)
        with self.new_draft() as draft:
            draft.add(reader)
            reader.check_end()
            sums = draft.sums_like({**sent, **sums_in_headers(request.headers), **sums_in_headers(headers)})
            stored = commit(self._store, bucket, name, fields, conditions, draft.path, sums)
        return shown_object(stored, request.endpoint)

    def _begin(self, request: Request, bucket: str) -> Answer:
        name, fields = self._fields(request, request.json())
        if kind := request.headers.get("X-Upload-Content-Type"):
            fields.setdefault("contentType", kind)
        # What is refused in the end is refused in the beginning, too.
        conditions = Conditions.of(request)
        before = self._store.find(bucket, name)
        conditions.check(before.resource if before else None)
        upload_id = self.begin(bucket, name, fields, conditions)
        place = f"{request.endpoint}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name={quote(name, safe='')}"
        headers = {"Location": f"{place}&upload_id={upload_id}", "X-GUploader-UploadID": upload_id}
        return Answer(200, b"", {**headers, "Content-Type": "text/plain; charset=utf-8"})

    def begin(self, bucket: str, name: str, fields: Resource, conditions: Conditions, kind: str = "resumable") -> str:
        """Begin an upload of several requests.

        Args:
            bucket: of the object.
            name: of the object.
            fields: of the object, checked.
            conditions: that have to hold in the end.
            kind: `resumable`, or `parts` for one of the XML API.

        Returns:
            Its id.
        """
        upload_id = secrets.token_hex(24)
        upload = {"kind": kind, "bucket": bucket, "name": name, "fields": fields, "numbers": dict(conditions.numbers)}
        self._store.put_upload(upload_id, {**upload, "started": time.time()})
        return upload_id

    def find(self, upload_id: str, kind: str) -> Resource:
        """Return an upload.

        Raises:
            ApiError: 404.
        """
        upload = self._store.find_upload(upload_id)
        if upload is None or upload["kind"] != kind:
            raise ApiError(404, "notFound", "The upload is not there: it was cancelled, is too old, or never began.")
        return upload

    @contextmanager
    def _alone(self, upload_id: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks[upload_id]
        with lock:
            yield

    def resume(self, request: Request, upload_id: str) -> Resource | Answer:
        """Go on with a resumable upload, tell how far it is, or cancel it.

        Raises:
            ApiError: the request makes no sense now.
        """
        with self._alone(upload_id):
            upload = self.find(upload_id, "resumable")
            if request.method == "DELETE":
                self._forget(upload_id)
                return Answer(499, b"", {"Content-Type": "text/plain; charset=utf-8"})
            if request.method not in ("PUT", "POST"):
                raise invalid("A resumable upload goes on by PUT.")
            if "done" in upload:
                return shown_object(Stored(upload["done"], b""), request.endpoint)
            return self._go_on(request, upload_id, upload)

    def _go_on(self, request: Request, upload_id: str, upload: Resource) -> Resource | Answer:
        draft = self._drafts.get(upload_id)
        if draft is None:
            draft = self._drafts[upload_id] = Draft(self._store.draft_path(upload_id))
        start, end, total = _content_range(request.headers.get("Content-Range"))
        if start is not None and start > draft.size:
            raise invalid(
                f"Invalid request.  According to the Content-Range header, the upload offset is {start} byte(s), "
                f"which exceeds already uploaded size of {draft.size} byte(s)."
            )
        is_chunk = start is not None and end is not None
        if is_chunk and total != end and end - start < SMALLEST_CHUNK:  # type: ignore[operator]
            raise invalid(
                "Invalid request.  The number of bytes uploaded is required to be equal or greater than "
                f"{SMALLEST_CHUNK}, except for the final request."
            )
        if start is not None:
            draft.add(_unpacked(request), skip=draft.size - start)
        if end is not None and draft.size < end:
            raise invalid(f"Invalid request.  There were fewer bytes in the body than the range up to {end - 1} has.")
        if (end is not None and draft.size > end) or (total is not None and draft.size > total):
            self._forget(upload_id)
            raise invalid("Invalid request.  There were more bytes in the body than Content-Range says.")
        if (total is not None and draft.size == total) or "Content-Range" not in request.headers:
            return self._finish(request, upload_id, upload, draft)
        headers = {"Range": f"bytes=0-{draft.size - 1}"} if draft.size else {}
        return Answer(308, b"", {**headers, "X-GUploader-UploadID": upload_id})

    def _finish(self, request: Request, upload_id: str, upload: Resource, draft: Draft) -> Resource:
        fields = upload["fields"]
        conditions = Conditions(upload["numbers"], {})
        try:
            sums = draft.sums_like({**fields, **sums_in_headers(request.headers)})
            stored = commit(self._store, upload["bucket"], upload["name"], fields, conditions, draft.path, sums)
        except ApiError:
            self._forget(upload_id)
            raise
        self._drafts.pop(upload_id, None)
        # A client that has not got this answer asks again.
        self._store.put_upload(upload_id, {**upload, "done": stored.resource})
        return shown_object(stored, request.endpoint)

    def _forget(self, upload_id: str) -> None:
        self._drafts.pop(upload_id, None)
        self._store.delete_upload(upload_id)
        with self._guard:
            self._locks.pop(upload_id, None)


def _unpacked(request: Request) -> Any:
    """The body without the encoding that it has for the way alone (`gcloud storage cp --gzip-in-flight`)."""
    encoding = request.headers.get("Content-Encoding", "")
    if encoding.lower() in ("", "identity"):
        return request.body
    return DecodedBody(request.body, encoding, request.longest)


def _content_range(header: str | None) -> tuple[int | None, int | None, int | None]:
    """The first byte of the body (None: it has none), the one after the last, the object's size, as far as known."""
    if header is None:
        return 0, None, None
    found = _RANGE.fullmatch(header.strip())
    if found is None:
        raise invalid(f"Failed to parse Content-Range header: '{header[:100]}'.")
    total = None if found[3] == "*" else int(found[3])
    if found[1] is None:
        return None, None, total
    start, end = int(found[1]), int(found[2]) + 1
    if end <= start or (total is not None and end > total):
        raise invalid(f"Failed to parse Content-Range header: '{header[:100]}'.")
    return start, end, total
