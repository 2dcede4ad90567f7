"""Objects of Cloud Storage that requests name by their address: read through Cloud Storage's own door."""

import http.client
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cos_customizer.emulator.errors import ApiError, EmulatorError, invalid

_ADDRESSES = (
    re.compile(r"gs://([^/]+)/(.+)"),
    re.compile(
        r"https?://(?:storage\.googleapis|commondatastorage\.googleapis|storage\.cloud\.google)\.com/([^/]+)/(.+)"
    ),
    # At whatever host: clients that were led here name this one.
    re.compile(r"https?://[^/]+/storage/v1/b/([^/]+)/o/([^?]+)"),
)
_SECONDS = 60.0
_PIECE = 8 << 20
"""A multiple of 256 KiB, as Cloud Storage wants it."""


def bucket_and_name(address: str, field: str) -> tuple[str, str]:
    """Return what a request names by `gs://BUCKET/OBJECT` or an https address of Cloud Storage.

    Args:
        address: as given.
        field: where it stands in the request, for errors.

    Raises:
        ApiError: 400.
    """
    for pattern in reversed(_ADDRESSES):
        if found := pattern.fullmatch(address):
            name = found[2] if address.startswith("gs://") else urllib.parse.unquote(found[2])
            return found[1], name
    raise invalid(field, address, "The referenced source is not the address of an object of Cloud Storage.")


def check_object(storage: str, bucket: str, name: str) -> None:
    """Make sure that an object is there.

    Args:
        storage: `HOST:PORT` of Cloud Storage.
        bucket: its bucket.
        name: the object.

    Raises:
        ApiError: 404.
    """
    with _answer(storage, bucket, name, "alt=json") as answer:
        if answer.status != 200:
            message = f"The resource 'https://storage.googleapis.com/{bucket}/{name}' was not found"
            raise ApiError(404, "notFound", message)


@contextmanager
def opened_object(storage: str, bucket: str, name: str) -> Iterator[http.client.HTTPResponse]:
    """Read an object piece by piece.

    Args:
        storage: see `check_object`.
        bucket: likewise.
        name: likewise.

    Raises:
        EmulatorError: it cannot be read (any more).
    """
    with _answer(storage, bucket, name, "alt=media") as answer:
        if answer.status != 200:
            raise EmulatorError(f"gs://{bucket}/{name} cannot be read: {answer.status} {answer.reason}")
        yield answer


def put_object(storage: str, bucket: str, name: str, file: Path) -> None:
    """Write a file to an object, piece by piece: a single request would have a limit.

    Args:
        storage: see `check_object`.
        bucket: likewise.
        name: likewise.
        file: its content, not empty.

    Raises:
        EmulatorError: it cannot be written.
    """
    size = file.stat().st_size
    bucket, name = urllib.parse.quote(bucket, ""), urllib.parse.quote(name, "")
    connection = http.client.HTTPConnection(storage, timeout=_SECONDS)
    headers = {"Content-Type": "application/gzip"}
    try:
        place = f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name={name}"
        connection.request(
            "POST", place, b"{}", {"Content-Type": "application/json", "X-Upload-Content-Type": "application/gzip"}
        )
        answer = connection.getresponse()
        answer.read()
        session = urllib.parse.urlsplit(answer.headers.get("Location", ""))
        if answer.status != 200 or not session.path:
            raise EmulatorError(
                f"{file.name} cannot be written to gs://{bucket}/{name}: {answer.status} {answer.reason}"
            )
        with file.open("rb") as content:
            for start in range(0, size, _PIECE):
                piece = content.read(_PIECE)
                headers["Content-Range"] = f"bytes {start}-{start + len(piece) - 1}/{size}"
                connection.request("PUT", f"{session.path}?{session.query}", piece, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status not in (200, 308):
                    raise EmulatorError(f"gs://{bucket}/{name} cannot be written: {answer.status} {answer.reason}")
    finally:
        connection.close()


@contextmanager
def _answer(storage: str, bucket: str, name: str, query: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(storage, timeout=_SECONDS)
    try:
        path = f"/storage/v1/b/{urllib.parse.quote(bucket, '')}/o/{urllib.parse.quote(name, '')}?{query}"
        connection.request("GET", path)
        yield connection.getresponse()
    finally:
        connection.close()
