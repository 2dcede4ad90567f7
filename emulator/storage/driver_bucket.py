"""The public bucket of NVIDIA's drivers: some of its objects under their own names, with a text in each.

`driver_bucket.txt` lists the names, in all the forms that the bucket has used over the years.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import google_crc32c

Resource = dict[str, Any]
"""A bucket or an object in Cloud Storage's JSON form."""

NAME = "nvidia-drivers-us-public"
_SINCE = "2018-07-01T00:00:00.000Z"
_GENERATION = "1530403200000000"
_DRIVER = re.compile(r"(NVIDIA-Linux-x86_64-[0-9.]+[0-9])[^/]*\.run")


def contents() -> dict[str, bytes]:
    """Return the objects by name. A driver's text is the same whatever the name of its file."""
    names = Path(__file__).with_suffix(".txt").read_text().split()
    return {name: _text(name.rpartition("/")[2]).encode() for name in names}


def _text(file: str) -> str:
    driver = _DRIVER.fullmatch(file)
    return f"stand-in for {f'{driver[1]}.run' if driver else file}\n"


def public_bucket(name: str) -> Resource:
    """Return the resource of a bucket that everybody may read."""
    return {
        "kind": "storage#bucket",
        "id": name,
        "name": name,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{name}",
        "projectNumber": "1234",
        "timeCreated": _SINCE,
        "updated": _SINCE,
        "metageneration": "1",
        "location": "US",
        "locationType": "multi-region",
        "storageClass": "STANDARD",
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
        "etag": "CAE=",
    }


def public_object(endpoint: str, bucket: str, name: str, content: bytes) -> Resource:
    """Return the resource of an object (https://cloud.google.com/storage/docs/json_api/v1/objects).

    Args:
        endpoint: URL of the service.
        bucket: its bucket.
        name: its name.
        content: its bytes.
    """
    md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    quoted = quote(name, safe="")
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{_GENERATION}",
        "selfLink": f"{endpoint}/storage/v1/b/{bucket}/o/{quoted}",
        "mediaLink": f"{endpoint}/download/storage/v1/b/{bucket}/o/{quoted}?generation={_GENERATION}&alt=media",
        "name": name,
        "bucket": bucket,
        "generation": _GENERATION,
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": str(len(content)),
        "md5Hash": md5,
        "crc32c": base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode(),
        "etag": md5,
        "timeCreated": _SINCE,
        "updated": _SINCE,
        "timeStorageClassUpdated": _SINCE,
    }
