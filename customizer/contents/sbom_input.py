"""The bill of materials that `-sbom-input-path` asks for: the original's input, and the original's document of it.

Source: `src/pkg/tools/sbomutil` of the original, https://cos.googlesource.com/cos/tools. It is SPDX 2.2 in JSON
(https://spdx.github.io/spdx-spec/v2.2.2), of what the user says of the image and not of what was found in it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import Message
from cos_customizer.customizer.spec.options import SBOM_INPUT

MOST_BYTES = 16 << 20
"""Of an input. A bill that names a hundred thousand packages is smaller."""
SOURCE_BUCKET = "cos-tools"
"""The public bucket that has the bills of COS's own images."""
_NO_ASSERTION = "NOASSERTION"
_DOCUMENT, _REFERENCE = "SPDXRef-DOCUMENT", "SPDXRef-"
_CREATOR = "Tool: gcr.io/cos-cloud/cos-customizer"
"""What the original calls itself; readers of its documents look for it."""
_ASSERTED = ("supplier", "downloadLocation", "licenseConcluded", "licenseDeclared", "copyrightText")
"""Fields that a package must have."""


@dataclass(frozen=True)
class OtherBill:
    """A bill of materials elsewhere, of something that is in the image.

    Attributes:
        name: Of what it is about.
        document: URI of it.
        algorithm: Of its checksum, as SPDX writes it: `SHA256`.
        checksum: In hexadecimal digits.
    """

    name: str
    document: str
    algorithm: str
    checksum: str


@dataclass(frozen=True)
class SbomInput:
    """What an input says.

    Attributes:
        name: Of what the document describes; empty for the image's own.
        version: Of it; empty for none.
        creators: Each as `Person: …`, `Organization: …` or `Tool: …`.
        supplier: `Person: …` or `Organization: …`; empty for none.
        packages: Of SPDX, as they are to be in the document.
        bills: Of others.
        licenses: Of SPDX, extracted licensing information.
    """

    name: str = ""
    version: str = ""
    creators: tuple[str, ...] = ()
    supplier: str = ""
    packages: tuple[Mapping[str, Any], ...] = ()
    bills: tuple[OtherBill, ...] = ()
    licenses: tuple[Any, ...] = ()

    @classmethod
    def parse(cls, content: bytes, path: str) -> "SbomInput":
        """Read an input. Fields that the original does not know are passed over, as it does.

        Args:
            content: Of the file.
            path: Of the file, for people.

        Raises:
            UsageError: It is not one.
        """
        try:
            return cls._parse(json.loads(content))
        except (ValueError, RecursionError) as error:
            raise UsageError(
                Message("{}: {} is not what a bill of materials is made of: {}", SBOM_INPUT, path, error),
                "docs/contents.md describes the file.",
            ) from None

    @classmethod
    def _parse(cls, value: Any) -> "SbomInput":
        fields = {name.lower(): each for name, each in _mapping(value, "it").items()}  # Go reads names in any case
        read = cls(
            _text(fields, "outputImageName"),
            _text(fields, "outputImageVersion"),
            tuple(_actor(each, "creators") for each in _list(fields, "creators")),
            _actor(supplier, "supplier") if (supplier := _text(fields, "supplier")) else "",
            tuple(_package(each) for each in _list(fields, "SPDXPackages")),
            tuple(_bill(each) for each in _list(fields, "SBOMPackages")),
            tuple(_list(fields, "hasExtractedLicensingInfos")),
        )
        if any(ord(character) < 32 for character in read.name + read.version):
            raise ValueError("outputImageName and outputImageVersion are part of an object's name")
        return read

    def named_for(self, image: str) -> "SbomInput":
        """The input with the image's name, and no version, where it has no name of its own."""
        if self.name:
            return self
        return SbomInput(image, "", self.creators, self.supplier, self.packages, self.bills, self.licenses)

    def document_name(self, image: str) -> str:
        """The document's name, which is its object's name below the output path too."""
        known = self.named_for(image)
        return f"{'-'.join(filter(None, [known.name, known.version]))}_sbom.spdx.json"

    def document(self, image: str, source: OtherBill | None, created: str) -> bytes:
        """The document.

        Args:
            image: Name of the output image.
            source: The source image's own bill, if it has one.
            created: RFC 3339 time, in seconds, with `Z`.
        """
        known = self.named_for(image)
        root = _REFERENCE + known.name
        bills = [*([source] if source else []), *known.bills]
        described = {
            "name": known.name,
            "SPDXID": root,
            "versionInfo": known.version or "0",
            **({"supplier": known.supplier} if known.supplier else {}),
            "filesAnalyzed": False,
        }
        relationships = [_relationship(_DOCUMENT, "DESCRIBES", root)]
        if source:
            relationships.append(_relationship(root, "CONTAINS", _outside(source)))
        relationships += [_relationship(root, "CONTAINS", package["SPDXID"]) for package in known.packages]
        relationships += [_relationship(root, "CONTAINS", _outside(bill)) for bill in known.bills]
        document = {
            "spdxVersion": "SPDX-2.2",
            "dataLicense": "CC0-1.0",
            "SPDXID": _DOCUMENT,
            "name": self.document_name(image),
            "documentNamespace": _NO_ASSERTION,
            "externalDocumentRefs": [_external(bill) for bill in bills],
            "creationInfo": {"creators": [_CREATOR, *known.creators], "created": created},
            "packages": [_asserted(each) for each in (described, *known.packages)],
            "hasExtractedLicensingInfos": list(known.licenses),
            "relationships": relationships,
        }
        kept = {name: value for name, value in document.items() if value != []}
        return json.dumps(kept, indent=2, ensure_ascii=False).encode(errors="backslashreplace")


def source_bill_object(image: str) -> str:
    """Name of the object in `SOURCE_BUCKET` that is the bill of one of COS's images; empty if its name has no build.

    Args:
        image: Name of an image of `cos-cloud`: it ends with the build, its numbers between hyphens.
    """
    numbers = image.split("-")[-3:]
    if len(numbers) < 3 or not all(number.isdecimal() for number in numbers):
        return ""
    board = "lakitu-arm64" if "arm64" in image else "lakitu"
    return f"{'.'.join(numbers)}/{board}/sbom.spdx.json"


def source_bill(image: str, name: str, sha256: str) -> OtherBill:
    """The bill of one of COS's images.

    Args:
        image: Name of the image.
        name: Of the object; see `source_bill_object`.
        sha256: Digest of the object.
    """
    return OtherBill(image, f"https://storage.googleapis.com/{SOURCE_BUCKET}/{name}", "SHA256", sha256)


def _external(bill: OtherBill) -> dict[str, Any]:
    return {
        "externalDocumentId": f"DocumentRef-{bill.name}",
        "spdxDocument": bill.document,
        "checksum": {"algorithm": bill.algorithm, "checksumValue": bill.checksum},
    }


def _outside(bill: OtherBill) -> str:
    return f"DocumentRef-{bill.name}:{_DOCUMENT}"


def _relationship(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relatedSpdxElement": other, "relationshipType": kind}


def _asserted(package: Mapping[str, Any]) -> dict[str, Any]:
    return {**package, **{name: package.get(name) or _NO_ASSERTION for name in _ASSERTED}}


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be an object with fields")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name.lower())
    if not isinstance(value, str | None):
        raise ValueError(f"{name} must be a text")
    return value or ""


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name.lower())
    if not isinstance(value, list | None):
        raise ValueError(f"{name} must be a list")
    return value or []


def _actor(value: Any, name: str) -> str:
    if not isinstance(value, str) or value.count(": ") != 1:
        raise ValueError(f"{name}: {value!r} is not of the form 'Organization: NAME', 'Person: NAME' or 'Tool: NAME'")
    return value


def _package(value: Any) -> Mapping[str, Any]:
    package = _mapping(value, "each of SPDXPackages")
    name, identifier = package.get("name"), package.get("SPDXID")
    if not isinstance(name, str) or not name or not isinstance(identifier, str) or not identifier:
        raise ValueError("each of SPDXPackages must have a name and an SPDXID")
    return {**package, "SPDXID": _REFERENCE + identifier.removeprefix(_REFERENCE)}


def _bill(value: Any) -> OtherBill:
    fields = {name.lower(): each for name, each in _mapping(value, "each of SBOMPackages").items()}
    wanted = ("name", "spdxDocument", "algorithm", "checksumValue")
    texts = [_text(fields, name) for name in wanted]
    if not all(texts):
        raise ValueError(f"each of SBOMPackages must have {', '.join(wanted)}")
    return OtherBill(*texts)
