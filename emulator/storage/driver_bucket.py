"""The public bucket of NVIDIA's drivers: some of its objects under their own names, with a text in each.

`driver_bucket.txt` lists the names, in all the forms that the bucket has used over the years.
"""

import base64
import hashlib
import re
from pathlib import Path

import google_crc32c

from cos_customizer.emulator.storage.requests import Resource

NAME = "nvidia-drivers-us-public"
_SINCE = "2018-07-01T00:00:00.000Z"
_GENERATION = "1530403200000000"
_DRIVER = re.compile(r"(NVIDIA-Linux-x86_64-[0-9.]+[0-9])[^/]*\.run")


def given() -> tuple[Resource, dict[str, tuple[Resource, bytes]]]:
    """Return the bucket, and its objects by name. A driver's text is the same whatever the name of its file."""
    names = Path(__file__).with_suffix(".txt").read_text().split()
    texts = {name: _text(name.rpartition("/")[2]).encode() for name in names}
    return _BUCKET, {name: (_public_object(name, text), text) for name, text in texts.items()}


def _text(file: str) -> str:
    driver = _DRIVER.fullmatch(file)
    return f"stand-in for {f'{driver[1]}.run' if driver else file}\n"


_BUCKET: Resource = {
    "name": NAME,
    "projectNumber": "1234",
    "timeCreated": _SINCE,
    "updated": _SINCE,
    "metageneration": "1",
    "location": "US",
    "locationType": "multi-region",
    "storageClass": "STANDARD",
    "softDeletePolicy": {"retentionDurationSeconds": "0"},
}


def _public_object(name: str, content: bytes) -> Resource:
    return {
        "name": name,
        "bucket": NAME,
        "generation": _GENERATION,
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": str(len(content)),
        "md5Hash": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
        "crc32c": base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode(),
        "timeCreated": _SINCE,
        "updated": _SINCE,
        "timeStorageClassUpdated": _SINCE,
    }
