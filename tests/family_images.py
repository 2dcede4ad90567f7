"""Families full of images, quickly, for tests of what becomes of old ones."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from compute_clients import PROJECT, Compute
from google.cloud import compute_v1

from cos_customizer.customizer.provenance import Provenance

OURS = Provenance("0123456789", "42", "f" * 32).description("projects/cos-cloud/global/images/cos-stable")
DAY = 86400.0


def rfc3339(seconds: float) -> str:
    """A Unix time as the API takes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def add_images(compute: Compute, images: Mapping[str, dict[str, Any]], family: str = "my-family") -> None:
    """Make images of a family, each a second newer than the one before.

    Args:
        compute: clients of the emulator.
        images: by name, what sets them apart: fields of `Image`, and `deleted`, the Unix time from which one that is
            deprecated counts as deleted, None for never.
        family: their family, unless a field says otherwise.
    """
    operations = []
    for name, fields in images.items():
        given: dict[str, Any] = {"family": family, "description": OURS, **fields}
        if "deleted" in given:
            date = given.pop("deleted")
            status = {"state": "DEPRECATED", **({} if date is None else {"deleted": rfc3339(date)})}
            given["deprecated"] = compute_v1.DeprecationStatus(**status)
        operations.append(compute.insert_image(name, **given))
        compute.emulator.clock.advance(1)
    for operation in operations:
        compute.ok(operation)


def given_by(compute: Compute, family: str = "my-family") -> str:
    """Name of the image that a family gives."""
    return compute.images.get_from_family(project=PROJECT, family=family).name


def changes(compute: Compute) -> list[str]:
    """Every call that may have changed something, as method and path."""
    return [f"{call.method} {call.path}" for call in compute.emulator.calls.list() if call.method != "GET"]
