"""Uploads of the XML API in parts (https://cloud.google.com/storage/docs/xml-api/post-object-multipart)."""

import hashlib
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.request_body import read_all
from cos_customizer.emulator.storage.conditions import Conditions
from cos_customizer.emulator.storage.drafts import sums_in_headers
from cos_customizer.emulator.storage.names import check_new_object
from cos_customizer.emulator.storage.requests import LONGEST_JSON, Answer, Request, Resource, invalid
from cos_customizer.emulator.storage.resources import check_no_customer_key, object_fields
from cos_customizer.emulator.storage.store import Store
from cos_customizer.emulator.storage.uploads import Uploads, commit
from cos_customizer.emulator.storage.xml_api import header_fields, xml_answer

_MOST_PARTS = 10_000


class XmlParts:
    """The methods of uploads in parts; the arguments after the request are the names in its path.

    A part's file says all of it: its number, and, once it is there as a whole, its ETag.

    Args:
        store: where objects are kept.
        uploads: to it.
    """

    def __init__(self, store: Store, uploads: Uploads) -> None:
        self._store = store
        self._uploads = uploads

    def begin(self, request: Request, bucket: str, name: str) -> Answer:
        """Answer a POST with `uploads`."""
        self._store.check_changeable(bucket)
        self._store.bucket(bucket)
        check_new_object(name)
        check_no_customer_key(request)
        fields = header_fields(request)
        object_fields(fields)
        upload_id = self._uploads.begin(bucket, name, fields, Conditions({}, {}), kind="parts")
        parts = [("Bucket", bucket), ("Key", name), ("UploadId", upload_id)]
        return xml_answer("InitiateMultipartUploadResult", parts)

    def _find(self, request: Request, bucket: str, name: str) -> tuple[str, Resource]:
        upload_id = request.query.get("uploadId", "")
        upload = self._uploads.find(upload_id, "parts")
        if (upload["bucket"], upload["name"]) != (bucket, name):
            raise ApiError(404, "notFound", "The upload is of another object.")
        return upload_id, upload

    def put(self, request: Request, bucket: str, name: str) -> Answer:
        """Answer a PUT with `partNumber`."""
        upload_id, _ = self._find(request, bucket, name)
        number = request.number("partNumber")
        if number is None or not 1 <= number <= _MOST_PARTS:
            raise invalid(f"Part number must be an integer between 1 and {_MOST_PARTS}, inclusive.")
        with self._uploads.new_draft() as draft:
            draft.add(request.body)
            sums = draft.sums_like(sums_in_headers(request.headers))
            tag = draft.md5_hex()
            with self._store.lock:
                self._find(request, bucket, name)
                before = self._parts(upload_id).get(number)
                draft.path.replace(self._store.draft_path(f"{upload_id}.{number}.{tag}"))
                if before and before[0] != tag:
                    before[1].unlink()
        return Answer(200, b"", {"ETag": f'"{tag}"', "X-Goog-Hash": f"crc32c={sums['crc32c']},md5={sums['md5Hash']}"})

    def _parts(self, upload_id: str) -> dict[int, tuple[str, Path]]:
        """The ETags and files of the parts that are there."""
        found = {}
        for path in self._store.draft_path(upload_id).parent.glob(f"{upload_id}.*.*"):
            _, number, tag = path.name.split(".")
            found[int(number)] = (tag, path)
        return found

    def complete(self, request: Request, bucket: str, name: str) -> Answer:
        """Answer a POST with `uploadId`."""
        upload_id, upload = self._find(request, bucket, name)
        wanted = _wanted_parts(read_all(request.body, min(request.longest, LONGEST_JSON)))
        parts = self._parts(upload_id)
        numbers = [number for number, _ in wanted]
        if not wanted or numbers != sorted(set(numbers)):
            raise invalid("The list of parts was not in ascending order, or is empty.")
        for number, tag in wanted:
            if number not in parts or parts[number][0] != tag:
                raise invalid(f"Part {number} is not there, or has another ETag.")
        with self._uploads.new_draft() as draft:
            for number in numbers:
                with parts[number][1].open("rb") as file:
                    draft.add(file)
            sums = draft.sums(with_md5=False)
            conditions = Conditions.in_headers(request)
            stored = commit(self._store, bucket, name, upload["fields"], conditions, draft.path, sums)
        self._store.delete_upload(upload_id)
        all_tags = b"".join(bytes.fromhex(tag) for _, tag in wanted)
        tag = f'"{hashlib.md5(all_tags, usedforsecurity=False).hexdigest()}-{len(wanted)}"'
        place = f"{request.endpoint}{request.path}"
        answer = xml_answer(
            "CompleteMultipartUploadResult", [("Location", place), ("Bucket", bucket), ("Key", name), ("ETag", tag)]
        )
        answer.headers |= {"X-Goog-Generation": stored.generation, "X-Goog-Hash": f"crc32c={sums['crc32c']}"}
        return answer

    def abort(self, request: Request, bucket: str, name: str) -> Answer:
        """Answer a DELETE with `uploadId`."""
        upload_id, _ = self._find(request, bucket, name)
        self._store.delete_upload(upload_id)
        return Answer(204)

    def list_parts(self, request: Request, bucket: str, name: str) -> Answer:
        """Answer a GET with `uploadId`."""
        upload_id, _ = self._find(request, bucket, name)
        found: list[tuple[str, Any]] = [("Bucket", bucket), ("Key", name), ("UploadId", upload_id)]
        found.append(("IsTruncated", "false"))
        for number, (tag, path) in sorted(self._parts(upload_id).items()):
            found.append(("Part", [("PartNumber", number), ("ETag", f'"{tag}"'), ("Size", path.stat().st_size)]))
        return xml_answer("ListPartsResult", found)

    def list_uploads(self, request: Request, bucket: str) -> Answer:  # noqa: ARG002
        """Answer a GET of a bucket with `uploads`."""
        self._store.bucket(bucket)
        found: list[tuple[str, Any]] = [("Bucket", bucket), ("IsTruncated", "false")]
        for upload_id, upload in self._store.uploads():
            if (upload["kind"], upload["bucket"]) == ("parts", bucket):
                found.append(("Upload", [("Key", upload["name"]), ("UploadId", upload_id)]))
        return xml_answer("ListMultipartUploadsResult", found)


def _wanted_parts(text: bytes) -> list[tuple[int, str]]:
    """The numbers and ETags of a request's parts."""
    if re.search(rb"<!(?:DOCTYPE|ENTITY)", text):
        raise invalid("The XML you provided was not well-formed or did not validate against our published schema.")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 (it has no entities of its own)
        parts = [each for each in root.iter() if each.tag.rpartition("}")[2] == "Part"]
        found = [{field.tag.rpartition("}")[2]: field.text or "" for field in part} for part in parts]
        return [(int(part["PartNumber"]), part["ETag"].strip().strip('"')) for part in found]
    except (ElementTree.ParseError, KeyError, ValueError):
        message = "The XML you provided was not well-formed or did not validate against our published schema."
        raise invalid(message) from None
