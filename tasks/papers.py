"""The documents of an output image, as tasks."""

from cos_customizer.customizer.contents.sbom_input import OtherBill, SbomInput
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ImageRef, ObjectRef
from cos_customizer.gcp import context, papers, scratch
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.context import Archive
from cos_customizer.tasks.operation import operation


@operation("look up the bill of materials of {source.name}")
def bill_of_source(source: ImageRef) -> OtherBill | None:
    """Find what Google has published of a source image; see `gcp.papers.bill_of_source`."""
    return papers.bill_of_source(clients(), source)


@operation("read {path}")
def read_sbom_input(archive: Archive, path: str) -> SbomInput:
    """Read what the user says of the image's materials; see `gcp.context.sbom_input_in`."""
    return context.sbom_input_in(archive, path)


@operation("write {target.url}")
def store(target: ObjectRef, content: bytes, kind: str) -> None:
    """Store a document; see `gcp.papers.store`."""
    papers.store(clients(), target, content, kind)


@operation("delete {target.url}", always=True)
def delete(target: ObjectRef) -> list[Removal]:
    """Delete a document; see `gcp.scratch.delete`."""
    return scratch.delete(clients(), target)
