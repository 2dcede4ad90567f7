"""Objects that are there: looked up, changed, deleted, copied, joined, renamed.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.storage.conditions import Conditions
from cos_customizer.emulator.storage.downloads import content
from cos_customizer.emulator.storage.drafts import Draft
from cos_customizer.emulator.storage.names import check_new_object
from cos_customizer.emulator.storage.requests import Answer, Request, Resource, invalid
from cos_customizer.emulator.storage.resources import (
    WRITABLE,
    check_acl,
    check_no_customer_key,
    check_not_held,
    merged,
    object_fields,
    shown_object,
    timestamp,
)
from cos_customizer.emulator.storage.store import Store, Stored
from cos_customizer.emulator.storage.uploads import Uploads, commit

_MOST_SOURCES = 32
_LEAST_REWRITTEN = 1 << 20


def no_such_object(bucket: str, name: str) -> ApiError:
    """There is no such object."""
    return ApiError(404, "notFound", f"No such object: {bucket}/{name}")


class Objects:
    """The methods of objects; the arguments after the request are the names in its path.

    Args:
        store: where they are kept.
        uploads: makes drafts.
    """

    def __init__(self, store: Store, uploads: Uploads) -> None:
        self._store = store
        self._uploads = uploads

    def look_up(self, bucket: str, name: str, generation: int | None, conditions: Conditions) -> Stored:
        """Return an object that meets conditions.

        Raises:
            ApiError: 304, 404 or 412.
        """
        self._store.bucket(bucket)
        stored = self._store.find(bucket, name)
        if stored is None or (generation is not None and str(generation) != stored.generation):
            raise no_such_object(bucket, name)
        conditions.check(stored.resource)
        return stored

    def get(self, request: Request, bucket: str, name: str) -> Resource | Answer:
        """Answer `objects.get`, for the resource or for the content."""
        check_no_customer_key(request)
        stored = self.look_up(bucket, name, request.number("generation"), Conditions.of(request))
        if request.query.get("alt") == "media":
            return content(self._store, request, bucket, name, stored)
        return shown_object(stored, request.endpoint)

    def download(self, request: Request, bucket: str, name: str) -> Resource | Answer:
        """Answer a request to a `mediaLink`."""
        stored = self.look_up(bucket, name, request.number("generation"), Conditions.of(request))
        return content(self._store, request, bucket, name, stored)

    def patch(self, request: Request, bucket: str, name: str) -> Resource:
        """Answer `objects.patch`."""
        return self._change(request, bucket, name, keep=True)

    def update(self, request: Request, bucket: str, name: str) -> Resource:
        """Answer `objects.update`: what the request does not have is removed."""
        return self._change(request, bucket, name, keep=False)

    def _change(self, request: Request, bucket: str, name: str, keep: bool) -> Resource:
        self._store.check_changeable(bucket)
        check_acl(request)
        sent = request.json()
        changes = object_fields(sent)
        with self._store.lock:
            stored = self.look_up(bucket, name, request.number("generation"), Conditions.of(request))
            old = stored.resource
            if sent.get("storageClass") not in (None, old["storageClass"]):
                raise invalid("The storage class of an object changes when it is rewritten.")
            kept = old if keep else {key: value for key, value in old.items() if key not in WRITABLE}
            new = merged(kept, changes)
            if not new.get("metadata"):
                new.pop("metadata", None)
            new |= {"metageneration": str(int(old["metageneration"]) + 1), "updated": timestamp()}
            return shown_object(self._store.put(bucket, name, new), request.endpoint)

    def delete(self, request: Request, bucket: str, name: str) -> Answer:
        """Answer `objects.delete`."""
        self._store.check_changeable(bucket)
        with self._store.lock:
            stored = self.look_up(bucket, name, request.number("generation"), Conditions.of(request))
            check_not_held(stored)
            self._store.delete(bucket, name)
        return Answer(204)

    def copy(self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str) -> Resource:
        """Answer `objects.copy`."""
        self._begin_change(request, to_bucket, to_name)
        source = self._source(request, bucket, name)
        return shown_object(self._copied(request, source, request.json(), to_bucket, to_name), request.endpoint)

    def rewrite(self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str) -> Resource:
        """Answer `objects.rewrite`: in one step, or in as many as `maxBytesRewrittenPerCall` asks for."""
        self._begin_change(request, to_bucket, to_name)
        source = self._source(request, bucket, name)
        fields, most = request.json(), request.number("maxBytesRewrittenPerCall")
        if most is not None and (most < _LEAST_REWRITTEN or most % _LEAST_REWRITTEN):
            raise invalid("maxBytesRewrittenPerCall must be a multiple of 1048576.")
        self._store.bucket(to_bucket)
        place = [bucket, name, source.generation, to_bucket, to_name]
        written = _written(request.query.get("rewriteToken"), place) + (most or source.size)
        answer: Resource = {"kind": "storage#rewriteResponse", "objectSize": str(source.size)}
        if written < source.size:
            token = base64.urlsafe_b64encode(json.dumps([*place, written]).encode()).decode()
            return {**answer, "totalBytesRewritten": str(written), "done": False, "rewriteToken": token}
        copied = shown_object(self._copied(request, source, fields, to_bucket, to_name), request.endpoint)
        return {**answer, "totalBytesRewritten": str(source.size), "done": True, "resource": copied}

    def _begin_change(self, request: Request, bucket: str, name: str) -> None:
        self._store.check_changeable(bucket)
        check_acl(request)
        check_no_customer_key(request)
        check_new_object(name)

    def _source(self, request: Request, bucket: str, name: str) -> Stored:
        return self.look_up(bucket, name, request.number("sourceGeneration"), Conditions.of(request, "ifSource"))

    def _copied(self, request: Request, source: Stored, sent: Resource, bucket: str, name: str) -> Stored:
        old = source.resource
        fields = sent if any(key in sent for key in WRITABLE) else {**old, **sent}
        return self.put_copy(source, fields, bucket, name, Conditions.of(request))

    def put_copy(
        self, source: Stored, fields: Mapping[str, Any], bucket: str, name: str, conditions: Conditions
    ) -> Stored:
        """Make an object with another one's content, without copying a byte.

        Args:
            source: the other one.
            fields: of the new one.
            bucket: of the new one.
            name: of the new one.
            conditions: for its place.

        Raises:
            ApiError: 400, 404 or 412.
        """
        old = source.resource
        object_fields(fields)
        with self._store.lock:
            present = self._store.find(old["bucket"], old["name"])
            if present is None or present.generation != source.generation:
                raise no_such_object(old["bucket"], old["name"])
            path = self._store.copy_of(source)
            try:
                sums: Resource = {
                    key: old[key] for key in ("size", "crc32c", "md5Hash", "componentCount") if key in old
                }
                return commit(self._store, bucket, name, fields, conditions, path, sums)
            finally:
                path.unlink(missing_ok=True)

    def move(self, request: Request, bucket: str, name: str, to_name: str) -> Resource:
        """Answer `objects.move`: another name in the same bucket."""
        self._begin_change(request, bucket, to_name)
        with self._store.lock:
            source = self._source(request, bucket, name)
            check_not_held(source)
            if name == to_name:
                raise invalid("Source and destination object names must be different.")
            moved = self.put_copy(source, source.resource, bucket, to_name, Conditions.of(request))
            self._store.delete(bucket, name)
        return shown_object(moved, request.endpoint)

    def compose(self, request: Request, bucket: str, name: str) -> Resource:
        """Answer `objects.compose`."""
        self._begin_change(request, bucket, name)
        sent = request.json()
        fields, wanted = sent.get("destination") or {}, sent.get("sourceObjects")
        if not isinstance(wanted, list) or not wanted or not all(isinstance(each, dict) for each in wanted):
            raise ApiError(400, "required", "You must provide at least one source component.")
        if len(wanted) > _MOST_SOURCES:
            raise invalid(
                f"The number of source components provided ({len(wanted)}) exceeds the maximum ({_MOST_SOURCES})."
            )
        if not isinstance(fields, dict):
            raise invalid("Invalid value for field 'destination'.")
        object_fields(fields)
        with self._uploads.new_draft() as draft:
            sources = [self._add_component(draft, bucket, each) for each in wanted]
            count = sum(int(each.resource.get("componentCount", 1)) for each in sources)
            fields = {"contentType": sources[0].resource["contentType"], **fields}
            sums = {**draft.sums(with_md5=False), "componentCount": count}
            stored = commit(self._store, bucket, name, fields, Conditions.of(request), draft.path, sums)
        if sent.get("deleteSourceObjects") is True:
            for each in sources:
                if each.resource["name"] != name:
                    self._store.delete(bucket, each.resource["name"])
        return shown_object(stored, request.endpoint)

    def _add_component(self, draft: Draft, bucket: str, wanted: Mapping[str, Any]) -> Stored:
        generation, conditions = wanted.get("generation"), wanted.get("objectPreconditions") or {}
        match = conditions.get("ifGenerationMatch") if isinstance(conditions, dict) else "none"
        for each in (generation, match):
            if each is not None and not (str(each).isascii() and str(each).isdecimal()):
                raise invalid(f"Invalid value for a source's generation: '{str(each)[:100]}'.")
        checked = Conditions({} if match is None else {"GenerationMatch": int(match)}, {})
        with self._store.lock:
            number = None if generation is None else int(generation)
            source = self.look_up(bucket, str(wanted.get("name", "")), number, checked)
            file = source.open()
        with file:
            draft.add(file)
        return source


def _written(token: str | None, place: list[str]) -> int:
    """How many bytes a token says were rewritten so far; of another rewrite it is not taken."""
    if token is None:
        return 0
    try:
        *of, written = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError, binascii.Error):
        of, written = [], 0
    if of != place or not isinstance(written, int):
        raise invalid("Invalid rewrite token.")
    return written
