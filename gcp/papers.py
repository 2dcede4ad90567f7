"""Documents of an output image in Cloud Storage: stored beside its contents, or where the user wants them."""

import hashlib
import io

from cos_customizer.customizer import names
from cos_customizer.customizer.contents import sbom_input
from cos_customizer.customizer.contents.sbom_input import OtherBill
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.references import ImageRef, ObjectRef
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.gcp import objects, scratch
from cos_customizer.gcp.clients import Clients


def store(clients: Clients, target: ObjectRef, content: bytes, kind: str) -> None:
    """Store a document, in the place of one that has its name.

    Args:
        clients: Google's clients.
        target: The object.
        content: Of the document.
        kind: Its media type.

    Raises:
        NotFoundError: There is no such bucket.
        CustomizerError: It could not be stored.
    """
    scratch.upload(clients, target, io.BytesIO(content), {}, None, kind)


def is_there(clients: Clients, target: ObjectRef) -> bool:
    """Whether there is an object of this name.

    Raises:
        CustomizerError: Cloud Storage does not say.
    """
    return objects.exists(clients, target)


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
        objects.show(clients, ObjectRef(sbom_input.SOURCE_BUCKET, name), digest.update)
    except CustomizerError as error:
        why = f"{source.name} has no bill of materials that can be read ({error.message})"
        publish(Note("bill of materials", f"{why}; the input may name one among its SBOMPackages", "warning"))
        return None
    return sbom_input.source_bill(source.name, name, digest.hexdigest())
