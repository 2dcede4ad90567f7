"""Where the documents of an image are: beside the object in which its contents are recorded, and as long as that."""

from cos_customizer.customizer.references import ObjectRef

SPDX, CYCLONEDX, PROVENANCE = "sbom.spdx.json", "sbom.cdx.json", "provenance.json"
DOCUMENTS = (SPDX, CYCLONEDX, PROVENANCE)
"""Names of all of them."""


def beside(contents: ObjectRef, document: str) -> ObjectRef:
    """The object that is one of an image's documents.

    Args:
        contents: In which the image's contents are recorded.
        document: One of `DOCUMENTS`.
    """
    directory, slash, _ = contents.name.rpartition("/")
    return ObjectRef(contents.bucket, f"{directory}{slash}{document}")
