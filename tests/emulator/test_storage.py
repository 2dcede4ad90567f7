"""Cloud Storage over Google's client, and over curl as the guest uses it."""

import base64
import hashlib
import io
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, NotFound
from google.cloud.storage import Bucket, Client
from support.compute_clients import INSTANCES, call
from support.storage_clients import BUCKET
from support.waiting import PATIENCE

from cos_customizer.emulator.server import Emulator


def test_an_object_there_and_back(bucket: Bucket) -> None:
    blob = bucket.blob("work/cos-customizer/1/context.tar.gz")
    blob.metadata = {"cos-customizer-expires": "2030-01-01", "sha256": "abc"}
    blob.upload_from_string(b"content \x00\xff", content_type="application/gzip")
    found = bucket.get_blob(blob.name)
    assert found.metadata == {"cos-customizer-expires": "2030-01-01", "sha256": "abc"}
    assert (found.size, found.content_type) == (10, "application/gzip")
    assert found.download_as_bytes() == b"content \x00\xff"
    assert found.download_as_bytes(start=2, end=3) == b"nt"
    found.metadata = {"kept": "no"}
    found.patch()
    assert bucket.get_blob(blob.name).metadata["kept"] == "no"
    blob.delete()
    assert bucket.get_blob(blob.name) is None
    with pytest.raises(NotFound):
        blob.delete()


def test_a_large_stream_goes_up_in_chunks_and_comes_down_whole(bucket: Bucket) -> None:
    content = os.urandom(3 << 20)
    blob = bucket.blob("large", chunk_size=256 << 10)

    class Stream(io.RawIOBase):  # of unknown length, as an archive is that is still being made
        def __init__(self) -> None:
            self._inner = io.BytesIO(content)

        def readable(self) -> bool:
            return True

        def tell(self) -> int:
            return self._inner.tell()

        def read(self, size: int = -1) -> bytes:
            return self._inner.read(size)

    blob.upload_from_file(Stream())
    assert bucket.get_blob("large").size == len(content)
    assert bucket.blob("large").download_as_bytes() == content
    with blob.open("wb") as file:
        file.write(b"rewritten")
    assert bucket.blob("large").download_as_bytes() == b"rewritten"
    with pytest.raises(NotFound):  # the client's blob is of the generation before
        blob.download_as_bytes()


def test_lists_by_prefix_and_names_of_all_kinds(bucket: Bucket) -> None:
    names = ["a", "a/b", "a/b/c", "w/" + "long-" * 100, "w/ü ?#%&.txt", "w/../x"]
    for name in names:
        bucket.blob(name).upload_from_string(name)
    assert {blob.name for blob in bucket.list_blobs()} == set(names)
    assert [blob.name for blob in bucket.list_blobs(prefix="a/")] == ["a/b", "a/b/c"]
    for name in names:
        assert bucket.blob(name).download_as_text() == name


def test_what_a_client_sends_wrong_is_noticed(bucket: Bucket) -> None:
    with pytest.raises(NotFound):
        bucket.client.bucket("none").blob("x").upload_from_string("x")
    with pytest.raises(NotFound):
        bucket.blob("none").download_as_bytes()


@pytest.mark.parametrize("name", ["work/context.tar.gz", "work/a b&c.tar"])
def test_curl_fetches_as_the_guest_does(emulator: Emulator, bucket: Bucket, name: str, tmp_path: Path) -> None:
    from urllib.parse import quote

    bucket.blob(name).upload_from_string(b"\x1f\x8bbinary")
    endpoint = emulator.environment()["STORAGE_EMULATOR_HOST"]
    url = f"{endpoint}/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}?alt=media"
    command = ["curl", "-sSf", "-H", "Authorization: Bearer token", "-o", str(tmp_path / "got"), url]
    subprocess.run(command, check=True, timeout=PATIENCE)
    assert (tmp_path / "got").read_bytes() == b"\x1f\x8bbinary"
    command[-1] = url.replace("work", "none")
    assert subprocess.run(command, timeout=PATIENCE, capture_output=True, check=False).returncode == 22


def test_a_projects_bucket_is_there_as_soon_as_the_project_is_used(emulator: Emulator) -> None:
    client = Client.create_anonymous_client()
    assert client.bucket(BUCKET).exists()
    assert not client.bucket("other-project_cloudbuild").exists()
    call(emulator, "GET", INSTANCES.replace("my-project", "other-project"))
    assert client.bucket("other-project_cloudbuild").exists()
    assert not client.bucket("cos-cloud_cloudbuild").exists()


def test_a_deleted_object_leaves_no_bytes(emulator: Emulator, bucket: Bucket, tmp_path: Path) -> None:
    def size() -> int:
        return sum(p.stat().st_size for p in (tmp_path / "emulator/storage").rglob("*") if p.is_file())

    before = size()
    blob = bucket.blob("big", chunk_size=1 << 20)
    blob.upload_from_string(os.urandom(4 << 20))
    assert size() > before + (4 << 20)
    blob.delete()
    assert size() < before + 100_000


def test_nothing_is_printed(emulator: Emulator, bucket: Bucket, capfd: pytest.CaptureFixture[str]) -> None:
    bucket.blob("x").upload_from_string("x")
    bucket.get_blob("none")
    call(emulator, "GET", INSTANCES)
    call(emulator, "GET", INSTANCES + "/none")
    assert capfd.readouterr() == ("", "")


DRIVERS = "nvidia-drivers-us-public"


def stand_in(version: str) -> bytes:
    return f"stand-in for NVIDIA-Linux-x86_64-{version}.run\n".encode()


@pytest.mark.parametrize(
    ("query", "names", "prefixes"),
    [
        ({"prefix": "tesla/396.26/"}, ["tesla/396.26/NVIDIA-Linux-x86_64-396.26-diagnostic.run"], set()),
        ({"prefix": "390"}, ["390.46/NVIDIA-Linux-x86_64-390.46.run"], set()),
        ({"delimiter": "/"}, ["license.txt"], {"390.46/", "TESLA/", "tesla/"}),
        (
            {"prefix": "tesla/535.104.05/", "delimiter": "/"},
            ["tesla/535.104.05/NVIDIA-Linux-x86_64-535.104.05.run"],
            {"tesla/535.104.05/aarch64/"},
        ),
        (
            {"match_glob": "tesla/450.51.06/NVIDIA-Linux-x86_64-*", "page_size": 2},
            [
                "tesla/450.51.06/NVIDIA-Linux-x86_64-450.51.06.run",
                "tesla/450.51.06/NVIDIA-Linux-x86_64-450.51.06_81-12871-1174-0.cos",
                "tesla/450.51.06/NVIDIA-Linux-x86_64-450.51.06_85-13310-1041-38.cos",
            ],
            set(),
        ),
        ({"prefix": "tesla/396.26", "fields": "items(name,md5Hash),nextPageToken"}, None, set()),
        ({"prefix": "tesla/none"}, [], set()),
    ],
)
def test_the_public_bucket_of_drivers_is_listed_without_credentials(
    emulator: Emulator, query: dict[str, Any], names: list[str] | None, prefixes: set[str]
) -> None:
    pages = Client.create_anonymous_client().list_blobs(DRIVERS, **query)
    found = [blob.name for blob in pages]
    assert names is None or found == names
    assert pages.prefixes == prefixes
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tesla/396.26/NVIDIA-Linux-x86_64-396.26-diagnostic.run", stand_in("396.26")),
        ("tesla/450.51.06/NVIDIA-Linux-x86_64-450.51.06.run", stand_in("450.51.06")),
        ("390.46/NVIDIA-Linux-x86_64-390.46.run", stand_in("390.46")),
        (
            "tesla/535.104.05/aarch64/NVIDIA-Linux-aarch64-535.104.05.run",
            b"stand-in for NVIDIA-Linux-aarch64-535.104.05.run\n",
        ),
    ],
)
def test_what_stands_for_a_driver_has_the_sum_that_is_listed(emulator: Emulator, name: str, content: bytes) -> None:
    client = Client.create_anonymous_client()
    (listed,) = client.list_blobs(DRIVERS, prefix=name)
    assert base64.b64decode(listed.md5_hash) == hashlib.md5(content).digest()
    assert listed.download_as_bytes() == client.bucket(DRIVERS).blob(name).download_as_bytes() == content
    endpoint = emulator.environment()["STORAGE_EMULATOR_HOST"]
    command = ["curl", "-sSf", f"{endpoint}/{DRIVERS}/{name}"]
    assert subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True).stdout == content


def test_nobody_changes_the_bucket_of_drivers(emulator: Emulator, bucket: Bucket) -> None:
    drivers = bucket.client.bucket(DRIVERS)
    before = [blob.name for blob in drivers.list_blobs()]
    with pytest.raises(Forbidden):
        drivers.blob("x").upload_from_string("x")
    with pytest.raises(Forbidden):
        drivers.blob(before[0]).delete()
    with pytest.raises(Forbidden):
        drivers.delete()
    with pytest.raises(Forbidden):
        bucket.copy_blob(bucket.blob("x"), drivers)
    bucket.blob(f"work/{DRIVERS}").upload_from_string("a name like it")
    bucket.blob(f"work/{DRIVERS}").delete()
    assert [blob.name for blob in drivers.list_blobs()] == before
    drivers.copy_blob(drivers.blob("license.txt"), bucket)
    assert bucket.blob("license.txt").download_as_bytes() == b"stand-in for license.txt\n"


def test_the_bucket_of_drivers_takes_no_place_in_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        with Emulator(tmp_path) as emulator:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.environment()["STORAGE_EMULATOR_HOST"])
            client = Client.create_anonymous_client()
            client.bucket(BUCKET).blob("x").upload_from_string("x")
            assert client.bucket(DRIVERS).exists()
            (blob,) = client.list_blobs(DRIVERS, prefix="tesla/396.26/")
            assert blob.download_as_bytes() == stand_in("396.26")
    stored = [path.read_bytes() for path in (tmp_path / "storage").rglob("*") if path.is_file()]
    assert stored
    assert not any(b"nvidia" in content for content in stored)
