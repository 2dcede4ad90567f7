"""Downloads from Cloud Storage: parts of objects, and what is stored compressed."""

import gzip

import pytest
from google.api_core.exceptions import RequestRangeNotSatisfiable
from google.cloud.storage import Bucket
from support.storage_clients import BUCKET, OBJECTS, ask, put, refused

from cos_customizer.emulator.server import Emulator


def test_what_is_stored_compressed_is_unpacked_for_who_does_not_take_it(emulator: Emulator, bucket: Bucket) -> None:
    text, blob = b"plain " * 300_000, bucket.blob("x")
    packed, blob.content_encoding = gzip.compress(text), "gzip"
    blob.upload_from_string(packed, content_type="text/plain")
    assert bucket.blob("x").download_as_bytes() == text
    assert bucket.blob("x").download_as_bytes(raw_download=True) == packed
    status, content, headers = ask(emulator, "GET", f"{OBJECTS}/x?alt=media", Range="bytes=0-3")
    assert (status, content, headers["Content-Encoding"], headers["Content-Length"]) == (200, text, None, None)
    status, content, headers = ask(emulator, "GET", f"/{BUCKET}/x", Accept_Encoding="gzip", Range="bytes=0-3")
    assert (status, content, headers["Content-Encoding"]) == (206, packed[:4], "gzip")
    blob.cache_control = "no-transform"
    blob.patch()
    assert ask(emulator, "GET", f"/{BUCKET}/x")[1] == packed
    wrong = bucket.blob("wrong")
    wrong.content_encoding = "gzip"
    wrong.upload_from_string("is not")
    assert ask(emulator, "GET", f"/{BUCKET}/wrong")[1] == b"is not"


RANGES = [
    ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
    ("bytes=7-", 206, b"789", "bytes 7-9/10"),
    ("bytes=-3", 206, b"789", "bytes 7-9/10"),
    ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
    ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
    ("bytes=10-", 416, None, None),
    ("bytes=-0", 416, None, None),
    ("bytes=4-2", 200, b"0123456789", None),
    ("lines=1-2", 200, b"0123456789", None),
]


@pytest.mark.parametrize(("header", "status", "content", "told"), RANGES, ids=[row[0] for row in RANGES])
def test_a_part_of_an_object(
    emulator: Emulator, bucket: Bucket, header: str, status: int, content: bytes | None, told: str | None
) -> None:
    put(bucket, x="0123456789")
    for path in (f"{OBJECTS}/x?alt=media", f"/download{OBJECTS}/x", f"/{BUCKET}/x"):
        got = ask(emulator, "GET", path, Range=header)
        assert (got[0], got[2]["Content-Range"]) == (status, told)
        assert content in (None, got[1])
        head = ask(emulator, "HEAD", path, Range=header)
        assert (head[0], head[1], head[2]["Content-Length"]) == (status, b"", got[2]["Content-Length"])


def test_an_empty_object_has_no_part(bucket: Bucket) -> None:
    put(bucket, x="")
    assert bucket.blob("x").download_as_bytes() == b""
    refused(RequestRangeNotSatisfiable, lambda: bucket.blob("x").download_as_bytes(start=0, end=1, checksum=None))
