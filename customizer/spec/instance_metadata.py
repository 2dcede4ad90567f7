"""Metadata of a build's VMs beside what the build itself sets (no pydantic here).

Limits: https://cloud.google.com/compute/docs/metadata/setting-custom-metadata#limitations.
"""

import re
from collections.abc import Mapping

KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")

OURS = {
    "user-data": "it carries the build's plan",
    "block-project-ssh-keys": "nobody logs in to a VM of a build",
    "cos-update-strategy": "no update may change the VM under the scripts",
    "storage-endpoint": "the VM sends its token there",
    "secretmanager-endpoint": "the VM sends its token there",
    "contents-upload": "the VM sends there what is in the image",
}
"""The keys that cannot be given, and why."""

_LIMIT = 255 * 1024
"""Bytes of keys and values: a VM can have 512 KiB, of which the build's plan may take 256."""


def check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata that a VM can have.

    Raises:
        ValueError: it cannot; the message names the key.
    """
    for key, value in metadata.items():
        if not KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key of metadata: up to 128 letters, digits, hyphens and underscores")
        if key.lower() in OURS:
            raise ValueError(f"{key!r} is set by the build: {OURS[key.lower()]}")
        if re.search("[\x00\ud800-\udfff]", value):
            raise ValueError(f"the value of {key} is not UTF-8 text, or has a NUL in it")
    size = sum(len(key) + len(value.encode()) for key, value in metadata.items())
    if size > _LIMIT:
        raise ValueError(f"metadata of {size:,} bytes; beside the build's own, a VM can have {_LIMIT:,}")
    return dict(metadata)
