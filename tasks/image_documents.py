"""The documents of an output image, as tasks."""

from collections.abc import Mapping

from cos_customizer.customizer.contents.bill import Subject
from cos_customizer.customizer.contents.inventory import Contents
from cos_customizer.customizer.contents.sbom_input import OtherBill, SbomInput
from cos_customizer.customizer.contents.signing import PublicKey
from cos_customizer.customizer.contents.statement import Stored
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ImageRef, ObjectRef
from cos_customizer.gcp import context, image_documents, kms, scratch
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.context import Archive
from cos_customizer.tasks.operation import operation


@operation("look up the bill of materials of {source.name}")
def bill_of_source(source: ImageRef) -> OtherBill | None:
    """Find what Google has published of a source image; see `gcp.image_documents.bill_of_source`."""
    return image_documents.bill_of_source(clients(), source)


@operation("read {path}")
def read_sbom_input(archive: Archive, path: str) -> SbomInput:
    """Read what the user says of the image's materials; see `gcp.context.sbom_input_in`."""
    return context.sbom_input_in(archive, path)


@operation("check the key that signs")
def check_key(name: str) -> PublicKey:
    """See whether a key of Cloud KMS may sign; see `gcp.kms.check`."""
    return kms.check(clients(), name)


@operation("write {target.url}")
def store(target: ObjectRef, content: bytes, kind: str) -> None:
    """Store a document; see `gcp.image_documents.store`."""
    image_documents.store(clients(), target, content, kind)


@operation("write the bills of materials")
def write_bills(contents: Contents, subject: Subject, recorded: ObjectRef, metadata: Mapping[str, str]) -> list[Stored]:
    """Write what the image is made of, in both formats; see `gcp.image_documents.write_bills`."""
    return image_documents.write_bills(clients(), contents, subject, recorded, metadata)


@operation("write the provenance")
def write_provenance(statement: bytes, key: PublicKey | None, target: ObjectRef, metadata: Mapping[str, str]) -> None:
    """Write how the image was made, signed if there is a key; see `gcp.image_documents.write_provenance`."""
    image_documents.write_provenance(clients(), statement, key, target, metadata)


@operation("delete {target.url}", always=True)
def delete(target: ObjectRef) -> list[Removal]:
    """Delete a document; see `gcp.scratch.delete`."""
    return scratch.delete(clients(), target)
