"""A bill of materials in SPDX 2.3, JSON: https://spdx.github.io/spdx-spec/v2.3."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cos_customizer.customizer.contents.bill import Bill, Part, Subject

if TYPE_CHECKING:
    from spdx_tools.spdx.model import Package

MEDIA_TYPE = "application/spdx+json"
_IMAGE, _SOURCE = "SPDXRef-image", "SPDXRef-source-image"


def spdx_document(bill: Bill, subject: Subject) -> bytes:
    """The document; the same bytes for the same bill, image and version of this program.

    Files are packages of the purpose FILE: SPDX's own files need a SHA-1, which is not taken.

    Args:
        bill: What is in the image.
        subject: The image.
    """
    from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
    from spdx_tools.spdx.jsonschema.relationship_converter import RelationshipConverter
    from spdx_tools.spdx.model import (
        Actor,
        ActorType,
        CreationInfo,
        Document,
        Package,
        PackagePurpose,
        Relationship,
        RelationshipType,
        SpdxNoAssertion,
    )

    image = Package(
        _IMAGE,
        subject.name,
        SpdxNoAssertion(),
        version=subject.id,
        files_analyzed=False,
        primary_package_purpose=PackagePurpose.OPERATING_SYSTEM,
        comment=f"Image {subject.self_link} of Compute Engine; its version is its numeric id.",
    )
    source = Package(
        _SOURCE, subject.source, SpdxNoAssertion(), version=subject.source_id or None, files_analyzed=False
    )
    parts = [_package(f"SPDXRef-{part.kind}-{number}", part) for number, part in enumerate(bill.parts, start=1)]
    info = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id="SPDXRef-DOCUMENT",
        name=f"{subject.project}/{subject.name}",
        document_namespace=f"urn:uuid:{subject.uuid('spdx')}",
        creators=[Actor(ActorType.TOOL, f"cos-customizer-{subject.version}")],
        created=datetime.fromisoformat(subject.created).replace(microsecond=0),
        document_comment=_left_out(bill),
    )
    # Relationships are converted by themselves: the library would look through all of them for each package.
    found: dict[str, Any] = DocumentConverter().convert(  # type: ignore[no-untyped-call]
        Document(info, [image, source, *parts])
    )
    relationships = [
        Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, _IMAGE),
        Relationship(_IMAGE, RelationshipType.DESCENDANT_OF, _SOURCE),
        *(Relationship(_IMAGE, RelationshipType.CONTAINS, part.spdx_id) for part in parts),
    ]
    convert = RelationshipConverter().convert
    found["relationships"] = [convert(each) for each in relationships]
    return (json.dumps(found, indent=1) + "\n").encode()


def _left_out(bill: Bill) -> str | None:
    return f"Not in this document: {'; '.join(bill.left_out)}." if bill.left_out else None


def _package(spdx_id: str, part: Part) -> "Package":
    from spdx_tools.spdx.model import (
        Actor,
        ActorType,
        Checksum,
        ChecksumAlgorithm,
        ExternalPackageRef,
        ExternalPackageRefCategory,
        Package,
        PackagePurpose,
        SpdxNoAssertion,
    )

    purposes = {
        "system": PackagePurpose.OPERATING_SYSTEM,
        "package": PackagePurpose.INSTALL,
        "container": PackagePurpose.CONTAINER,
        "driver": PackagePurpose.LIBRARY,
        "file": PackagePurpose.FILE,
    }
    purl = ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", part.purl) if part.purl else None
    return Package(
        spdx_id,
        part.name,
        SpdxNoAssertion(),
        version=part.version or None,
        supplier=Actor(ActorType.ORGANIZATION, part.supplier) if part.supplier else SpdxNoAssertion(),
        files_analyzed=False,
        checksums=[Checksum(ChecksumAlgorithm.SHA256, part.sha256)] if part.sha256 else [],
        comment="The source image has it too." if part.origin == "source" else "The build has brought it.",
        external_references=[purl] if purl else [],
        primary_package_purpose=purposes[part.kind],
    )
