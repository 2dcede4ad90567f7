"""Families full of images, quickly, for tests of what becomes of old ones."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.cloud import compute_v1
from support.compute_clients import PROJECT, Compute

from cos_customizer.customizer.context import archive_context
from cos_customizer.customizer.families.provenance import Provenance, fingerprint
from cos_customizer.customizer.spec.recipe import read_recipe
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.images import resolve_source

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


def built_before(recipe: Path) -> str:
    """The image that a rebuild of this recipe would have made, in no time; its name."""
    spec = read_recipe(recipe).spec()
    clients = connect()
    source = resolve_source(clients, spec.source)
    with TemporaryDirectory() as directory:
        digest = archive_context(Path(spec.context.path), Path(directory, "context.tar.gz")).sha256
    provenance = Provenance("0123456789", source.id, fingerprint(spec, source.id, digest))
    image = compute_v1.Image(
        name=f"{spec.output.name_for(source.name)}-20260101",
        family=spec.output.family,
        source_image=source.self_link,
        description=provenance.description(source.path),
    )
    operation = clients.images.insert_unary(project=spec.output.project, image_resource=image)
    clients.global_operations.wait(project=spec.output.project, operation=operation.name)
    return image.name


def given_by(compute: Compute, family: str = "my-family") -> str:
    """Name of the image that a family gives."""
    return compute.images.get_from_family(project=PROJECT, family=family).name


def changes(compute: Compute) -> list[str]:
    """Every call that may have changed something, as method and path."""
    return [f"{call.method} {call.path}" for call in compute.emulator.calls.list() if call.method != "GET"]
