"""`sbom` and `verify-provenance` over the real clients."""

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from support.builds import make_image
from support.command_line import run
from support.compute_clients import call
from support.recorded_contents import archive
from support.recorded_image import CONTENTS
from support.specifications import SpecMaker
from support.storage_clients import anonymous_bucket

from cos_customizer.customizer.contents.bill import bill_of
from cos_customizer.customizer.contents.signing import enveloped, to_be_signed
from cos_customizer.customizer.contents.statement import Making, Stored, statement
from cos_customizer.customizer.families.provenance import Provenance, contents_url
from cos_customizer.customizer.references import ImageRef, ObjectRef
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import image_documents
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.images import find_image

KEY = "projects/my-project/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
SOURCE = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
PRIVATE = ec.generate_private_key(ec.SECP256R1())
RECORDED = ObjectRef("my-project_cloudbuild", "w/contents.tar.gz")


@pytest.fixture(autouse=True)
def _image(emulator: Emulator, make_spec: SpecMaker) -> None:
    """An image with recorded contents and a signed provenance, and one without either."""
    packed = archive(CONTENTS)
    sha256 = hashlib.sha256(packed).hexdigest()
    anonymous_bucket().blob(RECORDED.name).upload_from_string(packed, "application/gzip")
    made = Provenance("0123456789", "42", "f" * 32, contents_url(RECORDED), sha256)
    make_image("web-1", description=made.description(SOURCE), family="web")
    make_image("bare")
    clients = connect()
    image = find_image(clients, ImageRef("my-project", "web-1"))
    assert image
    subject = image_documents.subject_of(image, "1")
    bills = image_documents.write_bills(clients, CONTENTS, subject, RECORDED, {})
    text = statement(
        Making(
            subject=subject,
            spec=make_spec(),
            build=made.build,
            recipe=made.recipe,
            zone="us-west1-b",
            context_sha256="0" * 64,
            scripts={},
            contents=CONTENTS,
            recorded=Stored("recorded contents", RECORDED.url, sha256, "application/gzip"),
            byproducts=bills,
            started="2026-11-30T10:00:00Z",
            finished="2026-11-30T10:20:00Z",
            versions={},
        )
    )
    signature = PRIVATE.sign(to_be_signed(text), ec.ECDSA(hashes.SHA256()))
    anonymous_bucket().blob("w/provenance.json").upload_from_string(enveloped(text, [(KEY, signature)]))


@pytest.fixture
def key(tmp_path: Path) -> str:
    """The file of the key that has signed."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "key.pem").write_bytes(PRIVATE.public_key().public_bytes(serialization.Encoding.PEM, form))
    return str(tmp_path / "key.pem")


def test_a_bill_of_materials_is_printed_in_either_format() -> None:
    spdx = run("sbom", "-project=my-project", "web-1")
    assert (spdx.code, spdx.err) == (0, "")
    assert json.loads(spdx.out)["spdxVersion"] == "SPDX-2.3"
    cyclonedx = run("sbom", "-format=cyclonedx", "my-project/family/web")
    assert (cyclonedx.code, cyclonedx.err) == (0, "")
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(cyclonedx.out) is None


def test_what_is_printed_has_every_part_that_was_recorded() -> None:
    names = {each["name"] for each in json.loads(run("sbom", "my-project/web-1").out)["packages"]}
    assert {part.name for part in bill_of(CONTENTS).parts} - names == set()


def test_an_image_is_what_its_provenance_says(key: str) -> None:
    ran = run("verify-provenance", "-project=my-project", f"-key={key}", "web-1")
    assert (ran.code, ran.err) == (0, "")
    assert f"ok     signature: by {key}\n" in ran.out
    assert ran.out.endswith("my-project/web-1 is what its provenance says\n")
    as_json = json.loads(run("verify-provenance", f"-key={key}", "-format=json", "my-project/family/web").out)
    assert (as_json["holds"], as_json["signature"], as_json["key"]) == (True, "good", key)
    assert all(fact["holds"] for fact in as_json["facts"])


def test_another_key_has_not_signed_it(emulator: Emulator) -> None:
    ring = "/v1/projects/my-project/locations/global/keyRings"
    call(emulator, "POST", f"{ring}?keyRingId=r", {})
    body = {"purpose": "ASYMMETRIC_SIGN", "versionTemplate": {"algorithm": "EC_SIGN_P256_SHA256"}}
    call(emulator, "POST", f"{ring}/r/cryptoKeys?cryptoKeyId=k", body)
    for given in ([f"-key={KEY}"], []):  # the envelope names it, too
        ran = run("verify-provenance", *given, "my-project/web-1")
        assert ran.code == 1
        assert f"WRONG  signature: not by {KEY}, or changed since\n" in ran.out
        assert ran.out.endswith("my-project/web-1 is NOT what its provenance says\n")


def test_a_changed_bill_is_named(key: str) -> None:
    anonymous_bucket().blob("w/sbom.spdx.json").upload_from_string(b"{}")
    ran = run("verify-provenance", f"-key={key}", "my-project/web-1")
    assert ran.code == 1
    assert "WRONG  gs://my-project_cloudbuild/w/sbom.spdx.json: the statement says" in ran.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sbom", "web-1"], 2, "no project is known of image 'web-1'"),
        (["sbom"], 2, "IMAGE"),
        (["sbom", "-format=xml", "my-project/web-1"], 2, "-format: 'xml' is not one of spdx, cyclonedx"),
        (["sbom", "my-project/web-2"], 1, "there is no image web-2 in project my-project"),
        (["sbom", "my-project/bare"], 1, "image my-project/bare has no recorded contents"),
        (["verify-provenance", "my-project/bare"], 1, "image my-project/bare has no provenance"),
        (["verify-provenance", "-key=/none.pem", "my-project/web-1"], 2, "-key: '/none.pem' cannot be read"),
        (["verify-provenance", "-key=/dev/null", "my-project/web-1"], 2, "-key: /dev/null is no public key"),
        (["verify-provenance", f"-key={KEY}", "my-project/web-1"], 1, "not found"),
        (["verify-provenance", "my-project/web-1"], 1, "could not read the public key of"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], code: int, message: str) -> None:
    ran = run(*arguments)
    assert (ran.code, message in ran.err) == (code, True), ran.err
