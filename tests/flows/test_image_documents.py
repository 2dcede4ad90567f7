"""An image's documents on the emulator: written before its release, taken back with it, checked, printed."""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.builds import failing, images, make_image
from support.compute_clients import call
from support.guest_scripts import marker, script, succeeded, succeeding
from support.recorded_contents import archive
from support.recorded_image import CONTENTS
from support.specifications import SECRET, SpecMaker
from support.storage_clients import anonymous_bucket

from cos_customizer.customizer.errors import CustomizerError, NotFoundError, UsageError
from cos_customizer.customizer.families.provenance import Provenance, contents_url
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import ImageRef, ObjectRef
from cos_customizer.customizer.reporting.events import Event, Note, listening
from cos_customizer.customizer.spec.model import BuildSpec, parse_spec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.dry_run import dry_run
from cos_customizer.flows.image_documents import ImageDocuments
from cos_customizer.flows.output_image import OutputImage
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import Undoing
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.context import prepare_archive
from cos_customizer.gcp.images import ResolvedImage, find_image, resolve_source
from cos_customizer.gcp.provenance import Verdict, verify

LABELS = ("run-script first.sh", "run-script second.sh")
SOURCE = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
BUCKET = "my-project_cloudbuild"
RING = "projects/my-project/locations/global/keyRings/images"
KEY = f"{RING}/cryptoKeys/signing/cryptoKeyVersions/1"
DIRECTORY = "work/cos-customizer/0123456789"
NAMES = ["contents.tar.gz", "provenance.json", "sbom.cdx.json", "sbom.spdx.json"]
INPUT = {"outputImageName": "mine", "outputImageVersion": "7", "creators": ["Organization: G"]}


@pytest.fixture
def key(emulator: Emulator) -> str:
    """A key that signs."""
    body = {"purpose": "ASYMMETRIC_SIGN", "versionTemplate": {"algorithm": "EC_SIGN_P256_SHA256"}}
    call(emulator, "POST", f"/v1/{RING.rpartition('/')[0]}?keyRingId=images", {})
    assert call(emulator, "POST", f"/v1/{RING}/cryptoKeys?cryptoKeyId=signing", body)[0] == 200
    return KEY


class Written:
    """A build that has made its image and is about to write its documents."""

    def __init__(self, spec: BuildSpec, directory: Path, made_by: str = "0123456789") -> None:
        clients = connect()
        self.record = Record(spec, BuildNames("0123456789"))
        source = self.record.source = resolve_source(clients, spec.source)
        self.record.contents = CONTENTS
        self.record.zones["build"] = "us-west1-b"
        self.undoing = Undoing()
        self.documents = ImageDocuments(self.record)
        self.output = OutputImage(self.record, self.undoing, "my-image")
        directory.mkdir()
        made = prepare_archive(clients, spec.context, [*spec.steps, *spec.verify.scripts], directory)
        self.record.context_sha256 = made.sha256
        self.documents.prepare(made)
        self.documents.begin(self.undoing, self.output)
        packed = archive(CONTENTS)
        target = ObjectRef(BUCKET, f"{DIRECTORY}/contents.tar.gz")
        anonymous_bucket().blob(target.name).upload_from_string(packed, "application/gzip")
        told = Provenance(made_by, source.id, "f" * 32, contents_url(target), hashlib.sha256(packed).hexdigest())
        unreleased = {"cos-customizer-state": "unreleased"}
        make_image("my-image", description=told.description(source.path), labels=unreleased)
        self.output.image = image()

    def write(self) -> None:
        self.documents.write(self.output)


def image() -> ResolvedImage:
    found = find_image(connect(), ImageRef("my-project", "my-image"))
    assert found
    return found


def objects() -> list[str]:
    names = [blob.name for blob in connect().storage.list_blobs(BUCKET)]
    return sorted(name.removeprefix(f"{DIRECTORY}/") for name in names if not name.endswith("serial.log"))


def content(name: str) -> bytes:
    return bytes(anonymous_bucket().blob(f"{DIRECTORY}/{name}").download_as_bytes())


def checked(verdict: Verdict) -> list[str]:
    """What does not hold."""
    return [fact.name for fact in verdict.facts if not fact.holds]


def test_documents_are_written_beside_the_contents_and_hold(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path, key: str
) -> None:
    written = Written(make_spec(output={"attestation_key": key}), tmp_path / "room")
    written.write()
    assert objects() == NAMES
    verdict = verify(connect(), image(), "1", None)
    assert (verdict.signature, verdict.key, verdict.key_is_given, verdict.holds) == ("good", key, False, True)
    assert checked(verdict) == []
    envelope = json.loads(content("provenance.json"))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    definition = statement["predicate"]["buildDefinition"]
    scripts = {each["name"]: each["digest"]["sha256"] for each in definition["resolvedDependencies"][2:4]}
    assert scripts == {
        f"script {name}": hashlib.sha256(f"echo {name}\n".encode()).hexdigest() for name in ("first.sh", "second.sh")
    }
    blob = anonymous_bucket().get_blob(f"{DIRECTORY}/provenance.json")
    assert blob is not None
    assert blob.content_type == "application/vnd.dsse.envelope.v1+json"
    assert blob.metadata is not None
    assert blob.metadata["cos-customizer-build"] == "0123456789"
    assert blob.metadata["cos-customizer-image"] == "my-project/my-image"
    assert blob.custom_time is None


def test_documents_go_if_the_image_does_not_stay(emulator: Emulator, make_spec: SpecMaker, tmp_path: Path) -> None:
    written = Written(make_spec(output={"family": "my-family"}), tmp_path / "room")
    written.write()
    assert objects() == NAMES
    written.undoing.run()
    assert objects() == NAMES[:1]
    assert written.undoing.leftovers == []


def test_documents_stay_with_an_image_that_is_released(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path
) -> None:
    written = Written(make_spec(output={"family": "my-family"}), tmp_path / "room")
    written.write()
    written.output.release()
    written.undoing.run()
    assert objects() == NAMES


def test_a_provenance_that_nobody_has_signed_says_so(emulator: Emulator, make_spec: SpecMaker, tmp_path: Path) -> None:
    Written(make_spec(), tmp_path / "room").write()
    assert json.loads(content("provenance.json"))["_type"] == "https://in-toto.io/Statement/v1"
    verdict = verify(connect(), image(), "1", None)
    assert (verdict.signature, verdict.holds) == ("none", True)


def change(name: str, old: bytes, new: bytes) -> None:
    before = content(name)
    assert old in before
    anonymous_bucket().blob(f"{DIRECTORY}/{name}").upload_from_string(before.replace(old, new, 1))


TAMPERED: dict[str, tuple[Callable[[], None], str, list[str]]] = {
    "a bill of materials": (
        lambda: change("sbom.spdx.json", b"/var/lib/hello", b"/var/lib/hullo"),
        "good",
        [f"gs://{BUCKET}/{DIRECTORY}/sbom.spdx.json"],
    ),
    "the contents": (
        lambda: change("contents.tar.gz", b"\x1f\x8b", b"\x1f\x8c"),
        "good",
        [f"gs://{BUCKET}/{DIRECTORY}/contents.tar.gz"],
    ),
    "a bill that is gone": (
        lambda: anonymous_bucket().delete_blob(f"{DIRECTORY}/sbom.cdx.json"),
        "good",
        [f"gs://{BUCKET}/{DIRECTORY}/sbom.cdx.json"],
    ),
    "the statement": (lambda: change("provenance.json", b'"payload": "ewog', b'"payload": "ewoh'), "bad", []),
}


@pytest.mark.parametrize(("tamper", "signature", "wrong"), TAMPERED.values(), ids=TAMPERED)
def test_what_somebody_has_changed_is_found(
    emulator: Emulator,
    make_spec: SpecMaker,
    tmp_path: Path,
    key: str,
    tamper: Callable[[], None],
    signature: str,
    wrong: list[str],
) -> None:
    Written(make_spec(output={"attestation_key": key}), tmp_path / "room").write()
    tamper()
    verdict = verify(connect(), image(), "1", None)
    assert verdict.signature == signature
    assert not verdict.holds
    assert set(wrong) <= set(checked(verdict))


def test_another_image_of_the_same_name_is_not_the_one(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path, key: str
) -> None:
    Written(make_spec(output={"attestation_key": key}), tmp_path / "room").write()
    before = image()
    clients = connect()
    operation = clients.images.delete_unary(project="my-project", image="my-image")
    clients.global_operations.wait(project="my-project", operation=operation.name)
    make_image("my-image", description=before.description)
    verdict = verify(clients, image(), "1", None)
    assert (verdict.signature, verdict.holds, checked(verdict)) == ("good", False, ["image"])


def test_an_image_of_a_build_that_has_not_ended_is_not_signed_for_it(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path, key: str
) -> None:
    written = Written(make_spec(output={"attestation_key": key}), tmp_path / "room", made_by="9876543210")
    with pytest.raises(CustomizerError, match="was made by a build that has not ended"):
        written.write()
    assert objects() == NAMES[:1]
    notes: list[Event] = []
    with listening(notes.append):
        ImageDocuments(Record(make_spec(), BuildNames("0123456789"))).write(written.output)
    assert [note.level for note in notes if isinstance(note, Note)] == ["warning"]


def test_contents_that_could_not_be_recorded_are_not_signed_for(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path, key: str
) -> None:
    written = Written(make_spec(output={"attestation_key": key}), tmp_path / "room")
    make_image("bare", description=Provenance("0123456789", "1", "f" * 32).description(SOURCE))
    written.output.image = find_image(connect(), ImageRef("my-project", "bare"))
    assert written.output.image
    with pytest.raises(CustomizerError, match=r"output\.attestation_key: nothing can be signed"):
        written.write()
    with pytest.raises(NotFoundError, match="has no provenance: it was made without recording its contents"):
        verify(connect(), written.output.image, "1", None)


KEYS: dict[str, tuple[str, dict[str, Any] | None, type[CustomizerError], str]] = {
    "no key": (f"{RING}/cryptoKeys/other/cryptoKeyVersions/1", None, NotFoundError, "not found"),
    "no version": (f"{RING}/cryptoKeys/signing/cryptoKeyVersions/2", None, NotFoundError, "not found"),
    "disabled": (KEY, {"state": "DISABLED"}, UsageError, "is not enabled: its state is DISABLED"),
}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(("name", "patch", "error", "message"), KEYS.values(), ids=KEYS)
def test_a_key_that_cannot_sign_fails_before_a_vm_is_made(
    emulator: Emulator,
    make_spec: SpecMaker,
    key: str,
    name: str,
    patch: dict[str, Any] | None,
    error: type[CustomizerError],
    message: str,
) -> None:
    if patch:
        call(emulator, "PATCH", f"/v1/{key}?updateMask=state", patch)
    failing(make_spec(output={"attestation_key": name}), error, message)
    assert emulator.calls.count("compute", "POST", "/instances") == 0


def with_secrets(make_spec: SpecMaker, **output: Any) -> BuildSpec:
    """A build with a value in its environment, and a secret."""
    step = {"script": "first.sh", "env": {"TOKEN": "hunter2"}, "env_secrets": {"PASSWORD": SECRET}}
    return parse_spec({**make_spec(output=output).model_dump(mode="json"), "steps": [step]})


@pytest.mark.usefixtures("prefect_server")
def test_a_whole_build_leaves_documents_that_hold_and_no_secret(
    emulator: Emulator, make_spec: SpecMaker, key: str
) -> None:
    secrets = "/v1/projects/my-project/secrets"
    call(emulator, "POST", f"{secrets}?secretId=token", {"replication": {"automatic": {}}})
    value = base64.b64encode(b"hunter3").decode()
    assert call(emulator, "POST", f"{secrets}/token:addVersion", {"payload": {"data": value}})[0] == 200
    steps = (marker("BuildStep: 1 started run-script first.sh"), marker("BuildStep: 1 succeeded 0.1"))
    emulator.scripts.add(script(*steps, *succeeded(contents=archive(CONTENTS))))
    result = build_image(with_secrets(make_spec, family="my-family", attestation_key=key))
    assert (result.outcome, image().family) == ("built", "my-family")
    verdict = verify(connect(), image(), "1", None)
    assert (verdict.signature, verdict.key, verdict.holds, checked(verdict)) == ("good", key, True, [])
    found = {
        blob.name.rpartition("/")[2]: blob.download_as_bytes(raw_download=True)
        for blob in connect().storage.list_blobs(BUCKET)
    }
    assert sorted(found) == sorted([*NAMES, "difference.json", "serial.log"])
    found["statement"] = base64.b64decode(json.loads(found["provenance.json"])["payload"])
    found["contents"] = gzip.decompress(found["contents.tar.gz"])
    for name, text in found.items():
        assert b"hunter" not in text, name
    assert b"first.sh" in found["statement"]
    byproducts = json.loads(found["statement"])["predicate"]["runDetails"]["byproducts"]
    assert byproducts[-1]["digest"]["sha256"] == hashlib.sha256(found["serial.log"]).hexdigest()
    assert json.loads(found["sbom.spdx.json"])["name"] == "my-project/my-image"
    assert result.durations["documents"] >= 0


@pytest.mark.usefixtures("prefect_server")
def test_a_build_without_a_family_writes_no_documents(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    result = build_image(make_spec())
    assert "documents" not in result.durations
    assert [blob.name.rpartition("/")[2] for blob in connect().storage.list_blobs(BUCKET)] == ["serial.log"]


def test_a_dry_run_tells_of_the_documents_and_signs_nothing(emulator: Emulator, make_spec: SpecMaker, key: str) -> None:
    shown = [
        f"{each.path} {each.body.get('name', '')}"
        for each in dry_run(with_secrets(make_spec, family="my-family", attestation_key=key)).requests
    ]
    for name in NAMES[1:]:
        assert any(name in each for each in shown), name
    assert any(each.startswith(f"v1/{key}:asymmetricSign") for each in shown)
    assert emulator.calls.count("kms", "POST", ":asymmetricSign") == 0


def with_input(make_spec: SpecMaker, tmp_path: Path, value: object = INPUT, **output: Any) -> BuildSpec:
    (tmp_path / "context" / "sbom.json").write_text(json.dumps(value))
    paths = {"sbom_input_path": "sbom.json", "sbom_output_path": f"gs://{BUCKET}/sboms/"}
    return make_spec(output={**paths, **output})


@pytest.mark.usefixtures("prefect_server")
def test_the_bill_that_was_asked_for_is_where_the_original_writes_it(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path
) -> None:
    bill = b'{"spdxVersion": "SPDX-2.2"}'
    assert call(emulator, "POST", "/storage/v1/b?project=my-project", {"name": "cos-tools"})[0] == 200
    tools = connect().storage.bucket("cos-tools")
    tools.blob("10718.86.0/lakitu/sbom.spdx.json").upload_from_string(bill)
    emulator.scripts.add(succeeding(*LABELS))
    assert build_image(with_input(make_spec, tmp_path)).outcome == "built"
    document = json.loads(anonymous_bucket().blob("sboms/mine-7_sbom.spdx.json").download_as_bytes())
    assert document["externalDocumentRefs"][0]["checksum"]["checksumValue"] == hashlib.sha256(bill).hexdigest()
    assert document["creationInfo"]["creators"][1] == "Organization: G"


@pytest.mark.usefixtures("prefect_server")
def test_a_source_without_a_bill_of_its_own_is_told_of_and_no_failure(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    notes: list[Event] = []
    with listening(notes.append):
        build_image(with_input(make_spec, tmp_path))
    assert any(isinstance(note, Note) and "has no bill of materials that can be read" in note.text for note in notes)
    document = json.loads(anonymous_bucket().blob("sboms/mine-7_sbom.spdx.json").download_as_bytes())
    assert "externalDocumentRefs" not in document


WRONG = {
    "input": ({"creators": ["G"]}, {}, "creators: 'G' is not of the form"),
    "path": (INPUT, {"sbom_input_path": "other.json"}, "there is no 'other.json' in the build context"),
    "bucket": (INPUT, {"sbom_output_path": "gs://no-such-bucket/x"}, "there is no bucket no-such-bucket"),
}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(("value", "output", "message"), WRONG.values(), ids=WRONG)
def test_a_bill_that_cannot_be_written_fails_before_a_vm_is_made(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path, value: object, output: dict[str, Any], message: str
) -> None:
    failing(with_input(make_spec, tmp_path, value, **output), UsageError, message)
    assert emulator.calls.count("compute", "POST", "/instances") == 0


@pytest.mark.usefixtures("prefect_server")
def test_a_build_that_fails_leaves_no_bill(emulator: Emulator, make_spec: SpecMaker, tmp_path: Path) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    emulator.faults.add("operation", method="patch", path="/images/my-image", code="INTERNAL_ERROR")  # its release
    _, result = failing(with_input(make_spec, tmp_path, family="my-family"), CustomizerError)
    assert result.outcome == "failed"
    assert "my-image" not in images(emulator)
    assert [blob.name for blob in connect().storage.list_blobs(BUCKET) if "sbom" in blob.name] == []
