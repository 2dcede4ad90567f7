"""Seed files: what they say is there from the beginning, again after a reset, and what is wrong in them is told."""

import re
from pathlib import Path

import pytest
import yaml
from google.cloud.storage import Client
from support.archives import archive_of
from support.compute_clients import PROJECT, Compute, call
from support.paths import ROOT

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.seed.model import (
    Seed,
    SeedBucket,
    SeedError,
    SeedImage,
    SeedKey,
    SeedObject,
    SeedSecret,
    read_seed,
)
from cos_customizer.emulator.server import Emulator

WHOLE = """
project: my-project
images:
- name: app-1
  family: app
  labels: {team: web}
  description: the first
  deprecated: DEPRECATED
- name: app-2
  family: app
- {name: empty, blank: true, diskSizeGb: 3}
- name: brought
  project: other-project
  file: image.tar.gz
  guestOsFeatures: [UEFI_COMPATIBLE]
buckets:
- name: fixtures
  objects:
  - {name: deep/hello.txt, text: "Hello, Wörld!", contentType: text/plain, metadata: {a: b}}
  - name: raw
    base64: |
      AA
      EC
  - {name: file, file: content}
keys:
- {name: images/signing}
secrets:
- {name: token, text: s3cret, labels: {a: b}}
faults:
- {kind: http, path: /global/images/broken, status: 500, count: 0}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    archive_of(tmp_path)
    (tmp_path / "content").write_bytes(b"from a file")
    return tmp_path


def seed(place: Path, text: str = WHOLE) -> Seed:
    (place / "seed.yaml").write_text(text)
    return read_seed(place / "seed.yaml", yaml.SafeLoader)


def check(emulator: Emulator) -> None:
    compute = Compute(emulator)
    assert compute.names("images") == ["app-1", "app-2", "empty"]
    assert compute.names("disks") == []
    assert compute.images.get_from_family(project=PROJECT, family="app").name == "app-2"
    first = compute.images.get(project=PROJECT, image="app-1")
    assert (first.description, dict(first.labels)) == ("the first", {"team": "web"})
    assert first.deprecated.state == "DEPRECATED"
    assert compute.images.get(project=PROJECT, image="empty").disk_size_gb == 3
    brought = emulator.get("projects/other-project/global/images/brought")
    assert (brought["diskSizeGb"], brought["guestOsFeatures"]) == ("1", [{"type": "UEFI_COMPATIBLE"}])
    storage = Client.create_anonymous_client()
    found = {blob.name: blob for blob in storage.list_blobs("fixtures")}
    assert found["deep/hello.txt"].download_as_text() == "Hello, Wörld!"
    assert (found["deep/hello.txt"].content_type, found["deep/hello.txt"].metadata) == ("text/plain", {"a": "b"})
    assert (found["raw"].download_as_bytes(), found["file"].download_as_bytes()) == (b"\0\1\2", b"from a file")
    assert list(storage.list_blobs("other-project_cloudbuild")) == []
    secret = f"/v1/projects/{PROJECT}/secrets/token"
    assert call(emulator, "GET", f"{secret}/versions/latest:access")[1]["payload"]["data"] == "czNjcmV0"
    key = f"/v1/projects/{PROJECT}/locations/global/keyRings/images/cryptoKeys/signing/cryptoKeyVersions"
    (version,) = call(emulator, "GET", key)[1]["cryptoKeyVersions"]
    assert (version["state"], version["algorithm"]) == ("ENABLED", "EC_SIGN_P256_SHA256")
    assert len(emulator.faults.list()) == 1
    assert emulator.calls.count(path="/global/images/broken") == 0


def test_what_it_says_is_there_after_each_start_and_each_reset(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = seed(place)
    with Emulator(place / "state", seed=given) as emulator:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.environment()["STORAGE_EMULATOR_HOST"])
        check(emulator)
        Compute(emulator).image("another")
        emulator.reset()
        check(emulator)
    with Emulator(place / "state", seed=given) as emulator:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.environment()["STORAGE_EMULATOR_HOST"])
        check(emulator)


def test_it_goes_to_another_process_as_json(place: Path) -> None:
    given = seed(place)
    assert Seed.model_validate_json(given.model_dump_json(by_alias=True, exclude_defaults=True)) == given


def test_the_seed_of_the_documents_is_one(place: Path) -> None:
    page = (ROOT / "docs" / "emulator-in-tests.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name in ("debian.qcow2", "logo.png"):
        (place / name).touch()
    found = seed(place, text)
    assert [image.name for image in found.images] == ["app-1", "app-2", "debian-13"]
    documented = set(re.findall(r"`(\w+)`", page.partition("## A seed")[2].partition("## ")[0]))
    models = (Seed, SeedImage, SeedBucket, SeedObject, SeedSecret, SeedKey)
    fields = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert fields - documented <= {"images", "buckets", "secrets", "keys", "faults", "blank"}  # which the example shows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "is no seed"),
        ("a: [", "is not YAML"),
        ("imagse: []", "imagse: there is no such field"),
        ("project: Web", "project: it is no project's id"),
        ("project: cos-cloud", "project: it is no project's id"),
        ("images: [{}]", "images.0.name: Field required"),
        ("images: [{name: Web}]", "images.0.name: String should match"),
        ("images: [{name: web, familly: a}]", "images.0.familly: there is no such field"),
        ("images: [{name: web, file: nothing.qcow2}]", "images.0.file: there is no file"),
        ("images: [{name: web, file: content}]", "images.0: .*none of the files that hold a disk"),
        ("images: [{name: web, blank: true, sourceImage: x}]", "images.0: it takes one of sourceImage, file and blank"),
        ("images: [{name: web, diskSizeGb: ten}]", "images.0.diskSizeGb: it should be a valid integer"),
        ("images: [{name: web, deprecated: MAYBE}]", "images.0.deprecated: it should be 'DEPRECATED'"),
        ("images: [{name: web}, {name: web}]", "images.1.name: 'web' is there already"),
        ("buckets: [{name: a}]", "buckets.0.name: String should have at least 3"),
        ("buckets: [{name: abc, objects: [{name: x}]}]", "buckets.0.objects.0: it takes one of text, base64 and file"),
        ("buckets: [{name: abc, objects: [{name: x, base64: '?'}]}]", "buckets.0.objects.0: base64 is not encoded so"),
        (
            "buckets: [{name: abc, objects: [{name: x, text: 1}]}]",
            "objects.0.text: it should be a valid string",
        ),
        ("keys: [{name: a}]", "keys.0.name: String should match"),
        ("keys: [{name: a/b, algorithm: MD5}]", "keys.0.algorithm: it should be 'EC_SIGN_P256_SHA256'"),
        ("keys: [{name: a/b}, {name: a/b}]", "keys.1.name: 'a/b' is there already"),
        ("secrets: [{name: a b, text: x}]", "secrets.0.name: String should match"),
        ("faults: [1]", "faults.0: it is no mapping"),
        ("faults: [{}]", "faults.0: kind: it is required"),
        ("faults: [{kind: fire}]", "faults.0: no such fault: fire"),
        ("faults: [{kind: http, stats: 500}]", "faults.0: stats: there is no such field"),
        ("faults: [{kind: http, status: many}]", "faults.0: status: it is to be of type int"),
        ("faults: [{kind: http, path: '['}]", "faults.0: not a regular expression"),
        ("faults: [{kind: delay, seconds: .nan}]", "faults.0: seconds: it is to be from 0 to"),
        ("faults: [{kind: delay, seconds: .inf}]", "faults.0: seconds: it is to be from 0 to"),
        ("faults: [{kind: http, count: -1}]", "faults.0: count: it is to be from 0 to"),
        ("faults: [{kind: http, status: 99999}]", "faults.0: status: it is to be from 400 to 599"),
        (f"secrets: [{{name: a, file: {'a' * 5000}}}]", "secrets.0.file: .* cannot be read: File name too long"),
        ("secrets: [{name: a, base64: ä}]", "secrets.0: base64 is not encoded so"),
        (
            r'buckets: [{name: abc, objects: [{name: x, text: x, contentType: "a\r\nb: c"}]}]',
            "buckets.0.objects.0.contentType: String should match",
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_field(place: Path, text: str, words: str) -> None:
    with pytest.raises(SeedError, match=words):
        seed(place, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "images: [{name: web, sourceImage: projects/cos-cloud/global/images/none}]",
            "images.0: .*was not found",
        ),
        ("buckets: [{name: Not A Bucket}]", "seed: buckets.0: "),
        ("images: [{name: web, labels: {Upper: x}}]", "seed: images.0: .*label"),
    ],
)
def test_what_an_api_refuses_ends_the_start_with_the_field(place: Path, text: str, words: str) -> None:
    with pytest.raises(EmulatorError, match=words), Emulator(place / "state", seed=seed(place, text)):
        pass
    with Emulator(place / "state"):  # nothing of it runs any more
        pass
