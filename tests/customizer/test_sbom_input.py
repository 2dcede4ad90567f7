"""The original's bill of materials: its input, its document, its object's name."""

import json
from typing import Any

import pytest
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from cos_customizer.customizer.contents.sbom_input import SbomInput, source_bill, source_bill_object
from cos_customizer.customizer.errors import UsageError

NOW = "2023-04-27T16:08:32Z"
PACKAGE = {
    "name": "pkg1",
    "SPDXID": "SPDXRef-pkg1",
    "versionInfo": "111",
    "supplier": "Organization: K",
    "filesAnalyzed": False,
    "licenseDeclared": "BSD-3-Clause AND Apache-2.0",
    "licenseConcluded": "BSD-3-Clause AND Apache-2.0",
    "downloadLocation": "https://test.com",
    "externalRefs": [
        {
            "referenceCategory": "SECURITY",
            "referenceType": "cpe23Type",
            "referenceLocator": "cpe:2.3:a:vendor:pkg-1:1.2.3:*:*:*:*:*:*:*",
        }
    ],
    "checksums": [{"algorithm": "SHA1", "checksumValue": "11d7774ac38f40e009dcee453a760750aea75bbd"}],
}
WHOLE: dict[str, Any] = {
    "outputImageName": "image1",
    "outputImageVersion": "123",
    "creators": ["Organization: G"],
    "supplier": "Organization: G",
    "SPDXPackages": [PACKAGE],
    "SBOMPackages": [
        {
            "name": "pkg2",
            "spdxDocument": "https://doc.url/",
            "algorithm": "SHA1",
            "checksumValue": "11d7774ac38f40e009dcee453a760750aea11111",
        }
    ],
    "hasExtractedLicensingInfos": [
        {"licenseId": "LicenseRef-license1", "extractedText": "test license", "crossRefs": [{"url": "license-url"}]}
    ],
}


def parsed(value: object) -> SbomInput:
    return SbomInput.parse(json.dumps(value).encode(), "sbom.json")


def test_the_document_is_the_original_s() -> None:
    """The case of the original's own test (`sbomutil_test.go`)."""
    document = json.loads(parsed(WHOLE).document("my-image", None, NOW))
    assert list(document) == [
        "spdxVersion",
        "dataLicense",
        "SPDXID",
        "name",
        "documentNamespace",
        "externalDocumentRefs",
        "creationInfo",
        "packages",
        "hasExtractedLicensingInfos",
        "relationships",
    ]
    assert document["spdxVersion"] == "SPDX-2.2"
    assert document["documentNamespace"] == "NOASSERTION"
    assert document["name"] == "image1-123_sbom.spdx.json"
    creators = ["Tool: gcr.io/cos-cloud/cos-customizer", "Organization: G"]
    assert document["creationInfo"] == {"creators": creators, "created": NOW}
    assert document["packages"][0] == {
        "name": "image1",
        "SPDXID": "SPDXRef-image1",
        "versionInfo": "123",
        "supplier": "Organization: G",
        "filesAnalyzed": False,
        "downloadLocation": "NOASSERTION",
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    }
    assert document["packages"][1] == {**PACKAGE, "copyrightText": "NOASSERTION"}
    assert document["externalDocumentRefs"] == [
        {
            "externalDocumentId": "DocumentRef-pkg2",
            "spdxDocument": "https://doc.url/",
            "checksum": {"algorithm": "SHA1", "checksumValue": "11d7774ac38f40e009dcee453a760750aea11111"},
        }
    ]
    assert document["hasExtractedLicensingInfos"] == WHOLE["hasExtractedLicensingInfos"]
    assert _related(document) == [
        ("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image1"),
        ("SPDXRef-image1", "CONTAINS", "SPDXRef-pkg1"),
        ("SPDXRef-image1", "CONTAINS", "DocumentRef-pkg2:SPDXRef-DOCUMENT"),
    ]


def test_spdx_s_own_validator_finds_nothing_wrong_but_the_namespace_that_the_original_leaves_open() -> None:
    value = json.loads(parsed(WHOLE).document("my-image", source_bill("cos-1", "a/b", "0" * 64), NOW))
    value["documentNamespace"] = "https://example.com/image1"
    value["hasExtractedLicensingInfos"][0]["crossRefs"] = []
    document = JsonLikeDictParser().parse(value)  # type: ignore[no-untyped-call]
    assert [message.validation_message for message in validate_full_spdx_document(document, "SPDX-2.2")] == []


@pytest.mark.parametrize(
    ("given", "name", "version", "object_name"),
    [
        ({}, "my-image", "0", "my-image_sbom.spdx.json"),
        ({"outputImageVersion": "7"}, "my-image", "0", "my-image_sbom.spdx.json"),
        ({"outputImageName": "mine"}, "mine", "0", "mine_sbom.spdx.json"),
        ({"outputImageName": "mine", "outputImageVersion": "7"}, "mine", "7", "mine-7_sbom.spdx.json"),
        ({"OutputImageName": "mine"}, "mine", "0", "mine_sbom.spdx.json"),
    ],
)
def test_a_document_without_a_name_of_its_own_has_the_image_s(
    given: dict[str, Any], name: str, version: str, object_name: str
) -> None:
    read = parsed(given)
    document = json.loads(read.document("my-image", None, NOW))
    root = document["packages"][0]
    assert (root["name"], root["versionInfo"], root["supplier"]) == (name, version, "NOASSERTION")
    assert document["name"] == read.document_name("my-image") == object_name


def test_the_source_s_own_bill_is_the_first_that_is_contained() -> None:
    source = source_bill("cos-125-19216-104-25", "19216.104.25/lakitu/sbom.spdx.json", "ab" * 32)
    document = json.loads(parsed(WHOLE).document("my-image", source, NOW))
    assert document["externalDocumentRefs"][0] == {
        "externalDocumentId": "DocumentRef-cos-125-19216-104-25",
        "spdxDocument": "https://storage.googleapis.com/cos-tools/19216.104.25/lakitu/sbom.spdx.json",
        "checksum": {"algorithm": "SHA256", "checksumValue": "ab" * 32},
    }
    assert _related(document)[1] == (
        "SPDXRef-image1",
        "CONTAINS",
        "DocumentRef-cos-125-19216-104-25:SPDXRef-DOCUMENT",
    )


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("cos-stable-68-10718-86-0", "10718.86.0/lakitu/sbom.spdx.json"),
        ("cos-arm64-stable-113-18244-85-29", "18244.85.29/lakitu-arm64/sbom.spdx.json"),
        ("cos-custom", ""),
        ("a", ""),
    ],
)
def test_the_bill_of_a_source_image_is_found_by_its_build(image: str, name: str) -> None:
    assert source_bill_object(image) == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "sbom.json is not what a bill of materials is made of: Expecting property name"),
        (b"\xff", "sbom.json is not what a bill of materials is made of"),
        (b"[" * 100_000, "sbom.json is not what a bill of materials is made of"),
        (b"[]", "it must be an object with fields"),
        (b'{"creators": ["OrganizationG"]}', "creators: 'OrganizationG' is not of the form 'Organization: NAME'"),
        (b'{"creators": ["Organization: G: H"]}', "creators: 'Organization: G: H' is not of the form"),
        (b'{"creators": "Organization: G"}', "creators must be a list"),
        (b'{"creators": [1]}', "creators: 1 is not of the form"),
        (b'{"supplier": "OrganizationG"}', "supplier: 'OrganizationG' is not of the form"),
        (b'{"supplier": 1}', "supplier must be a text"),
        (b'{"outputImageName": 1}', "outputImageName must be a text"),
        (b'{"outputImageName": "a\\nb"}', "outputImageName and outputImageVersion are part of an object's name"),
        (b'{"SPDXPackages": [{"name": "x"}]}', "each of SPDXPackages must have a name and an SPDXID"),
        (b'{"SPDXPackages": ["x"]}', "each of SPDXPackages must be an object with fields"),
        (b'{"SBOMPackages": [{"name": "x"}]}', "each of SBOMPackages must have name, spdxDocument, algorithm, check"),
    ],
)
def test_what_is_wrong_with_an_input_is_said(content: bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        SbomInput.parse(content, "sbom.json")
    assert "output.sbom_input_path: " in caught.value.message
    assert message in caught.value.message


def _related(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (each["spdxElementId"], each["relationshipType"], each["relatedSpdxElement"])
        for each in document["relationships"]
    ]
