"""A bill of materials in CycloneDX 1.7, JSON: https://cyclonedx.org/docs/1.7/json."""

from datetime import datetime
from typing import TYPE_CHECKING

from cos_customizer.customizer.contents.bill import Bill, Part, Subject

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

MEDIA_TYPE = "application/vnd.cyclonedx+json"
_PROPERTY = "cos-customizer:"
"""How the names of our properties begin."""


def cyclonedx_document(bill: Bill, subject: Subject) -> bytes:
    """The document; the same bytes for the same bill, image and version of this program.

    Args:
        bill: What is in the image.
        subject: The image.
    """
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType, Pedigree
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot7

    system = ComponentType.OPERATING_SYSTEM
    source = Component(type=system, bom_ref="source-image", name=subject.source, version=subject.source_id or None)
    image = Component(
        type=system,
        bom_ref="image",
        name=subject.name,
        version=subject.id,
        description=f"Image {subject.self_link} of Compute Engine; its version is its numeric id.",
        pedigree=Pedigree(ancestors=[source]),
    )
    program = Component(type=ComponentType.APPLICATION, name="cos-customizer", version=subject.version)
    metadata = BomMetaData(
        timestamp=datetime.fromisoformat(subject.created),
        tools=ToolRepository(components=[program]),
        component=image,
        properties=[Property(name=f"{_PROPERTY}left-out", value=each) for each in bill.left_out],
    )
    parts = [_component(part) for part in bill.parts if part.kind != "file"]
    if files := [_component(part) for part in bill.parts if part.kind == "file"]:
        # Below a component of their own: for each one of its own components the library looks at all others.
        about = "What the build has brought, or left with other bytes."
        parts.append(Component(type=ComponentType.FILE, bom_ref="files", name="/", description=about, components=files))
    bom = Bom(serial_number=subject.uuid("cyclonedx"), metadata=metadata, components=parts)
    bom.register_dependency(image, parts)
    return (JsonV1Dot7(bom).output_as_string(indent=1) + "\n").encode()


def _component(part: Part) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.contact import OrganizationalEntity
    from packageurl import PackageURL

    types = {
        "system": ComponentType.OPERATING_SYSTEM,
        "package": ComponentType.LIBRARY,
        "container": ComponentType.CONTAINER,
        "driver": ComponentType.DEVICE_DRIVER,
        "file": ComponentType.FILE,
    }
    return Component(
        type=types[part.kind],
        bom_ref=part.key,
        name=part.name,
        version=part.version or None,
        supplier=OrganizationalEntity(name=part.supplier) if part.supplier else None,
        purl=PackageURL.from_string(part.purl) if part.purl else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=part.sha256)] if part.sha256 else [],
        properties=[Property(name=f"{_PROPERTY}origin", value=part.origin)],
    )
