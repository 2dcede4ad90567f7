"""Recorded contents of images as tasks: begun, fetched, deleted."""

from collections.abc import Mapping

from cos_customizer.customizer.contents.inventory import Contents
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.gcp import contents, contents_removal
from cos_customizer.gcp.clients import clients
from cos_customizer.tasks.operation import operation


@operation("begin the upload of the contents")
def begin_upload(target: ObjectRef, metadata: Mapping[str, str]) -> str:
    """Begin the upload that the builder VM is to complete; see `gcp.contents.begin_upload`."""
    return contents.begin_upload(clients(), target, metadata)


@operation("read the contents")
def fetch_contents(source: ObjectRef, sha256: str) -> Contents:
    """Fetch what the builder VM has sent, and read it; see `gcp.contents.fetch`."""
    return contents.fetch(clients(), source, sha256)


@operation("delete the contents", always=True)
def delete_contents(target: ObjectRef, build: BuildNames, address: str) -> list[Removal]:
    """Let nobody send any more, and delete what was sent; see `gcp.contents_removal.discard`.

    Args:
        target: The object.
        build: That has begun it.
        address: Of the upload's session; empty if it has none.
    """
    if address:
        contents.cancel_upload(clients(), address)
    return contents_removal.discard(clients(), target, build.id)
