"""Documents of an output image in Cloud Storage: stored beside its contents, or where the user wants them."""

import hashlib
import io
from collections.abc import Mapping

from cos_customizer.customizer import names
from cos_customizer.customizer.contents import cyclone, places, sbom_input, signing, spdx
from cos_customizer.customizer.contents.bill import Subject, bill_of
from cos_customizer.customizer.contents.inventory import Contents
from cos_customizer.customizer.contents.sbom_input import OtherBill
from cos_customizer.customizer.contents.signing import PublicKey
from cos_customizer.customizer.contents.statement import MEDIA_TYPE, Stored
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.references import ImageRef, ObjectRef
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.gcp import kms, objects, scratch
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import ResolvedImage


def subject_of(image: ResolvedImage, version: str) -> Subject:
    """An image, as its documents tell of it.

    Args:
        image: It, made by this tool.
        version: This program's.
    """
    made = image.provenance
    return Subject(
        project=image.project,
        name=image.name,
        id=image.id,
        self_link=f"https://www.googleapis.com/compute/v1/{image.path}",  # whatever address the API was asked by
        created=image.created,
        source=Provenance.source_in(image.description),
        source_id=made.source_id if made else "",
        version=version,
    )


def store(
    clients: Clients, target: ObjectRef, content: bytes, kind: str, metadata: Mapping[str, str] | None = None
) -> None:
    """Store a document, in the place of one that has its name.

    Args:
        clients: Google's clients.
        target: The object.
        content: Of the document.
        kind: Its media type.
        metadata: Custom metadata of the object.

    Raises:
        NotFoundError: There is no such bucket.
        CustomizerError: It could not be stored.
    """
    scratch.upload(clients, target, io.BytesIO(content), metadata or {}, None, kind)


def write_bills(
    clients: Clients, contents: Contents, subject: Subject, recorded: ObjectRef, metadata: Mapping[str, str]
) -> list[Stored]:
    """Write the bills of materials of an image's content.

    Args:
        clients: Google's clients.
        contents: Recorded of the image.
        subject: The image.
        recorded: The object that has its contents.
        metadata: Custom metadata of the objects.

    Returns:
        The objects.

    Raises:
        CustomizerError: One could not be stored.
    """
    bill = bill_of(contents)
    stored = []
    for name, place, content, kind in (
        ("bill of materials (SPDX)", places.SPDX, spdx.spdx_document(bill, subject), spdx.MEDIA_TYPE),
        (
            "bill of materials (CycloneDX)",
            places.CYCLONEDX,
            cyclone.cyclonedx_document(bill, subject),
            cyclone.MEDIA_TYPE,
        ),
    ):
        target = places.beside(recorded, place)
        store(clients, target, content, kind, metadata)
        stored.append(Stored(name, target.url, hashlib.sha256(content).hexdigest(), kind))
    return stored


def write_provenance(
    clients: Clients, statement: bytes, key: PublicKey | None, target: ObjectRef, metadata: Mapping[str, str]
) -> None:
    """Write an image's provenance: in an envelope if there is a key to sign it, bare if there is none.

    Args:
        clients: Google's clients.
        statement: It.
        key: Of Cloud KMS, or None.
        target: The object.
        metadata: Custom metadata of the object.

    Raises:
        CustomizerError: It could not be signed, or the signature is not the key's; or it could not be stored.
    """
    content, kind = statement, MEDIA_TYPE
    if key is not None:
        signature = kms.sign(clients, key, signing.to_be_signed(statement))
        content, kind = signing.enveloped(statement, [(key.name, signature)]), signing.ENVELOPE_TYPE
        if clients.adapter is None and not signing.Sealed.parse(content).is_signed_by(key):  # a dry run signs nothing
            raise CustomizerError(f"what {key.name} has made of the provenance is not its signature", "try again.")
    store(clients, target, content, kind, metadata)


def bill_of_source(clients: Clients, source: ImageRef) -> OtherBill | None:
    """The bill of materials that Google has published of a source image.

    Args:
        clients: Google's clients.
        source: The image.

    Returns:
        It; None if the image is not one of COS's own, or there is none: that is told, and no error.
    """
    name = sbom_input.source_bill_object(source.name) if source.project == names.COS_PROJECT else ""
    if not name:
        return None
    digest = hashlib.sha256()
    try:
        objects.fetch(clients, ObjectRef(sbom_input.SOURCE_BUCKET, name), digest.update)
    except CustomizerError as error:
        why = f"{source.name} has no bill of materials that can be read ({error.message})"
        publish(Note("bill of materials", f"{why}; the input may name one among its SBOMPackages", "warning"))
        return None
    return sbom_input.source_bill(source.name, name, digest.hexdigest())
