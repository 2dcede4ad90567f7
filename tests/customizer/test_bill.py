"""Bills of materials of an image's content: package URLs, what is in a bill, and whether others take the documents."""

import json
from dataclasses import replace
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from support.recorded_image import AFTER, BEFORE, CONTENTS, COS, DEBIAN, SHA, SUBJECT

from cos_customizer.customizer.contents import bill as bills
from cos_customizer.customizer.contents import package_urls
from cos_customizer.customizer.contents.bill import bill_of
from cos_customizer.customizer.contents.cyclone import cyclonedx_document
from cos_customizer.customizer.contents.inventory import Container, Contents, File, Inventory, Package
from cos_customizer.customizer.contents.spdx import spdx_document

ROCKY = {"ID": "rocky", "NAME": "Rocky Linux", "VERSION_ID": "9.4"}
D = f"sha256:{'d1' * 32}"
C = f"sha256:{'c1' * 32}"


@pytest.mark.parametrize(
    ("package", "system", "purl"),
    [
        (Package("cos", "app-admin/sudo", "1.9.15"), COS, "pkg:cos/sudo@1.9.15?distro=cos-125"),
        (Package("cos", "sudo", "1.9.15"), {}, "pkg:cos/sudo@1.9.15?distro=cos"),
        (
            Package("deb", "libc6", "2.36-9+deb12u4", "amd64", "glibc"),
            DEBIAN,
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc",
        ),
        (Package("deb", "bash", "5.2"), {}, "pkg:deb/debian/bash@5.2"),
        (
            Package("rpm", "bind-libs", "32:9.16.23-18.el9", "x86_64"),
            ROCKY,
            "pkg:rpm/rocky/bind-libs@9.16.23-18.el9?arch=x86_64&distro=rocky-9.4&epoch=32",
        ),
        (
            Package("rpm", "bash", "0:5.1.8-9.el9", "x86_64"),
            ROCKY,
            "pkg:rpm/rocky/bash@5.1.8-9.el9?arch=x86_64&distro=rocky-9.4",
        ),
    ],
)
def test_a_package_has_the_url_that_scanners_know_it_by(package: Package, system: dict[str, str], purl: str) -> None:
    assert package_urls.of_package(package, system) == purl
    assert PackageURL.from_string(purl).to_string() == purl


@pytest.mark.parametrize(
    ("container", "purl"),
    [
        (
            Container("docker", "", C, ("gcr.io/p/Web/server:v2",), (f"gcr.io/p/Web/server@{D}",)),
            f"pkg:oci/server@sha256:{'d1' * 32}?repository_url=gcr.io/p/web/server&tag=v2",
        ),
        (Container("docker", "", C, ("busybox:latest",)), f"pkg:docker/library/busybox@sha256:{'c1' * 32}"),
        (
            Container("docker", "", C, ("localhost:5000/a/b:1",)),
            f"pkg:docker/a/b@sha256:{'c1' * 32}?repository_url=localhost:5000",
        ),
        (
            Container("containerd", "k8s.io", D, ("registry.k8s.io/pause:3.9",)),
            f"pkg:oci/pause@sha256:{'d1' * 32}?repository_url=registry.k8s.io/pause&tag=3.9",
        ),
        (Container("docker", "", C), ""),
    ],
)
def test_a_container_is_named_by_its_digest(container: Container, purl: str) -> None:
    found = package_urls.of_container(container)
    assert found == (PackageURL.from_string(purl).to_string() if purl else "")


def test_a_bill_has_each_part_once_and_says_what_the_build_has_brought() -> None:
    bill = bill_of(CONTENTS)
    assert [(part.kind, part.name, part.origin) for part in bill.parts] == [
        ("system", "Container-Optimized OS", "source"),
        ("package", "app-admin/sudo", "source"),
        ("package", "sys-apps/systemd", "source"),
        ("container", "registry.k8s.io/pause:3.9", "build"),
        ("container", "gcr.io/my-project/Web/server:v2", "build"),
        ("container", "busybox:latest", "build"),
        ("driver", "nvidia", "build"),
        ("file", "/var/lib/changed", "build"),
        ("file", "/var/lib/hello", "build"),
        ("file", r"/var/lib/odd\udcff", "build"),
    ]
    assert bill.left_out == ("/var/log (written by every boot)",)


def test_a_package_of_another_version_is_the_builds() -> None:
    after = replace(AFTER, packages=(Package("cos", "app-admin/sudo", "1.9.16"), BEFORE.packages[1]))
    origins = {part.name: part.origin for part in bill_of(Contents(BEFORE, after)).parts if part.kind == "package"}
    assert origins == {"app-admin/sudo": "build", "sys-apps/systemd": "source"}


def test_a_bill_that_would_be_too_long_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bills, "MOST_FILES", 2)
    bill = bill_of(CONTENTS)
    assert [part.name for part in bill.parts if part.kind == "file"] == ["/var/lib/changed", "/var/lib/hello"]
    assert bill.left_out[-1] == "1 files beyond the first 2"


SYSTEMS = {
    "COS": CONTENTS,
    "Debian": Contents(
        Inventory(DEBIAN),
        Inventory(DEBIAN, (Package("deb", "libc6", "2.36-9+deb12u4", "amd64", "glibc"),), AFTER.containers),
    ),
    "Rocky": Contents(Inventory(ROCKY), Inventory(ROCKY, (Package("rpm", "bash", "5.1.8-9.el9", "x86_64"),))),
    "nothing": Contents(Inventory(), Inventory()),
    "one package twice": Contents(
        Inventory(COS), Inventory(COS, (Package("cos", "a/x", "1"), Package("cos", "b/x", "1")))
    ),
    "control characters": Contents(
        Inventory(COS), Inventory(COS, files={"/a\nb\x01": File("/a\nb\x01", "file", 0, 0, 0, 1, SHA)})
    ),
}


@pytest.mark.parametrize("contents", SYSTEMS.values(), ids=SYSTEMS)
def test_spdx_s_own_validator_takes_the_document(contents: Contents) -> None:
    value = json.loads(spdx_document(bill_of(contents), SUBJECT))
    document = JsonLikeDictParser().parse(value)  # type: ignore[no-untyped-call]
    assert document.creation_info.spdx_version == "SPDX-2.3"
    assert [message.validation_message for message in validate_full_spdx_document(document)] == []


@pytest.mark.parametrize("contents", SYSTEMS.values(), ids=SYSTEMS)
def test_cyclonedx_s_strict_schema_takes_the_document(contents: Contents) -> None:
    text = cyclonedx_document(bill_of(contents), SUBJECT).decode()
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(text) is None
    refused = text.replace('"components"', '"component"', 1) if "components" in text else ""
    assert not refused or JsonStrictValidator(SchemaVersion.V1_7).validate_str(refused) is not None


def _spdx(value: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (
            package["name"],
            package.get("versionInfo", ""),
            next((each["referenceLocator"] for each in package.get("externalRefs", [])), ""),
        )
        for package in value["packages"]
        if package["SPDXID"] not in ("SPDXRef-image", "SPDXRef-source-image")
    }


def _cyclonedx(value: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(each["name"], each.get("version", ""), each.get("purl", "")) for each in _components(value)}


def _components(value: dict[str, Any]) -> list[dict[str, Any]]:
    """All of them, files out of the component that holds them."""
    nested = [each for component in value["components"] for each in component.get("components", [])]
    return [*(component for component in value["components"] if "components" not in component), *nested]


def test_both_formats_say_the_same_whole_and_every_time() -> None:
    bill = bill_of(CONTENTS)
    spdx, cyclonedx = spdx_document(bill, SUBJECT), cyclonedx_document(bill, SUBJECT)
    assert _spdx(json.loads(spdx)) == _cyclonedx(json.loads(cyclonedx))
    assert len(_spdx(json.loads(spdx))) == len(bill.parts)
    again = bill_of(Contents(BEFORE, replace(AFTER, files=dict(reversed(AFTER.files.items())))))
    assert spdx_document(again, SUBJECT) == spdx
    assert cyclonedx_document(again, SUBJECT) == cyclonedx


def test_digests_and_the_source_image_are_in_both() -> None:
    bill = bill_of(CONTENTS)
    spdx, cyclonedx = json.loads(spdx_document(bill, SUBJECT)), json.loads(cyclonedx_document(bill, SUBJECT))
    (hello,) = [each for each in spdx["packages"] if each["name"] == "/var/lib/hello"]
    assert hello["checksums"] == [{"algorithm": "SHA256", "checksumValue": SHA}]
    (hello,) = [each for each in _components(cyclonedx) if each["name"] == "/var/lib/hello"]
    assert hello["hashes"] == [{"alg": "SHA-256", "content": SHA}]
    assert {
        "spdxElementId": "SPDXRef-image",
        "relatedSpdxElement": "SPDXRef-source-image",
        "relationshipType": "DESCENDANT_OF",
    } in spdx["relationships"]
    assert cyclonedx["metadata"]["component"]["pedigree"]["ancestors"][0]["name"] == SUBJECT.source
    assert spdx["creationInfo"]["created"] == "2026-11-30T18:11:12Z"
    assert cyclonedx["metadata"]["timestamp"].startswith("2026-11-30T")
    assert "/var/log (written by every boot)" in spdx["creationInfo"].get("comment", "") + spdx.get("comment", "")
    assert {"name": "cos-customizer:left-out", "value": "/var/log (written by every boot)"} in cyclonedx["metadata"][
        "properties"
    ]
