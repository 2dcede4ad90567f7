"""Makes what a seed says, by the APIs that users have; what is there already stays as it is."""

import base64
import http.client
import json
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.machines.disk_formats import is_archive, to_archive
from cos_customizer.emulator.seed.model import (
    STAND_IN,
    Seed,
    SeedBucket,
    SeedImage,
    SeedKey,
    SeedObject,
    SeedSecret,
)

_PATIENCE = 600.0
_ZONE = "us-west1-b"
_JSON = "application/json"


class _ThereError(Exception):
    """The name is taken."""


@dataclass(frozen=True)
class Planting:
    """Plants a seed in an emulator that answers.

    Attributes:
        port: of Compute Engine.
        storage_port: of Cloud Storage.
        directory: for files on the way, of which none stays.
    """

    port: int
    storage_port: int
    directory: Path

    def plant(self, seed: Seed) -> None:
        """Make all but the faults, which would hit this.

        Raises:
            EmulatorError: an API refuses something; the message names the field.
        """
        for number, bucket in enumerate(seed.buckets):
            with _field(f"buckets.{number}"):
                self._bucket(bucket, bucket.project or seed.project)
            for index, each in enumerate(bucket.objects):
                with _field(f"buckets.{number}.objects.{index}"):
                    self._object(bucket.name, each)
        for number, image in enumerate(seed.images):
            with _field(f"images.{number}"):
                self._image(image, image.project or seed.project)
        for number, secret in enumerate(seed.secrets):
            with _field(f"secrets.{number}"):
                self._secret(secret, secret.project or seed.project)
        for number, key in enumerate(seed.keys):
            with _field(f"keys.{number}"):
                self._key(key, key.project or seed.project)

    def _bucket(self, bucket: SeedBucket, project: str) -> None:
        body = {"name": bucket.name, "location": bucket.location}
        self._storage("POST", f"/storage/v1/b?project={project}", body)

    def _object(self, bucket: str, each: SeedObject) -> None:
        name = urllib.parse.quote(each.name, safe="")
        upload = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&ifGenerationMatch=0&name={name}"
        if each.file is not None:
            with Path(each.file).open("rb") as file:
                self._ask(self.storage_port, "POST", upload, file, each.content_type)
        else:
            self._ask(self.storage_port, "POST", upload, each.content(), each.content_type)
        if each.metadata:
            self._storage("PATCH", f"/storage/v1/b/{bucket}/o/{name}", {"metadata": each.metadata})

    def _image(self, image: SeedImage, project: str) -> None:
        body: dict[str, Any] = {"name": image.name, "description": image.description, "labels": image.labels}
        body["guestOsFeatures"] = [{"type": feature} for feature in image.guest_os_features]
        optional = {"family": image.family, "architecture": image.architecture, "diskSizeGb": image.disk_size_gb}
        body |= {name: value for name, value in optional.items() if value is not None}
        images = f"projects/{project}/global/images"
        if image.blank:
            with self._blank_disk(project, image.disk_size_gb or 10) as disk:
                self._operation("POST", images, {**body, "sourceDisk": disk})
        elif image.file is not None:
            with self._archive(project, Path(image.file)) as source:
                self._operation("POST", images, {**body, "rawDisk": {"source": source}})
        else:
            self._operation("POST", images, {**body, "sourceImage": image.source_image or STAND_IN})
        if image.deprecated:
            self._operation("POST", f"{images}/{image.name}/deprecate", {"state": image.deprecated})

    @contextmanager
    def _blank_disk(self, project: str, size: int) -> Iterator[str]:
        disks = f"projects/{project}/zones/{_ZONE}/disks"
        name = "seed-blank"
        self._operation("POST", disks, {"name": name, "sizeGb": size})
        try:
            yield f"{disks}/{name}"
        finally:
            self._operation("DELETE", f"{disks}/{name}")

    @contextmanager
    def _archive(self, project: str, file: Path) -> Iterator[str]:
        bucket, name = f"{project}_cloudbuild", "seed-disk.tar.gz"
        self._ask(self.port, "GET", f"/compute/v1/projects/{project}")  # whose bucket is there then
        with tempfile.TemporaryDirectory(dir=self.directory) as directory:
            archive = file if is_archive(file) else to_archive(file, Path(directory))
            with archive.open("rb") as content:
                target = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"
                self._ask(self.storage_port, "POST", target, content, "application/gzip")
        try:
            yield f"https://storage.googleapis.com/{bucket}/{name}"
        finally:
            self._storage("DELETE", f"/storage/v1/b/{bucket}/o/{name}")

    def _secret(self, secret: SeedSecret, project: str) -> None:
        name = f"/v1/projects/{project}/secrets"
        try:
            body = {"replication": {"automatic": {}}, "labels": secret.labels}
            self._ask(self.port, "POST", f"{name}?secretId={secret.name}", json.dumps(body).encode(), _JSON)
        except _ThereError:
            versions = self._ask(self.port, "GET", f"{name}/{secret.name}/versions").get("versions", [])
            if any(version["state"] != "DESTROYED" for version in versions):
                return  # a value that an emulator before had is gone with it, and is put in again
        value = {"payload": {"data": base64.b64encode(secret.content()).decode()}}
        self._ask(self.port, "POST", f"{name}/{secret.name}:addVersion", json.dumps(value).encode(), _JSON)

    def _key(self, key: SeedKey, project: str) -> None:
        place = f"/v1/projects/{project}/locations/{key.location}/keyRings"
        ring, _, name = key.name.partition("/")
        with suppress(_ThereError):
            self._ask(self.port, "POST", f"{place}?keyRingId={ring}", b"{}", _JSON)
        body = {"purpose": "ASYMMETRIC_SIGN", "versionTemplate": {"algorithm": key.algorithm}}
        with suppress(_ThereError):
            self._ask(
                self.port, "POST", f"{place}/{ring}/cryptoKeys?cryptoKeyId={name}", json.dumps(body).encode(), _JSON
            )

    def _storage(self, method: str, target: str, body: object = None) -> None:
        content = json.dumps(body).encode() if body is not None else b""
        self._ask(self.storage_port, method, target, content, _JSON)

    def _operation(self, method: str, path: str, body: object = None) -> None:
        content = json.dumps(body).encode() if body is not None else b""
        operation = self._ask(self.port, method, f"/compute/v1/{path}", content, _JSON)
        place = "/".join(path.split("/")[: 3 if "/global/" in path else 4])
        while operation["status"] != "DONE":
            target = f"/compute/v1/{place}/operations/{operation['name']}/wait"
            operation = self._ask(self.port, "POST", target)
        if errors := operation.get("error", {}).get("errors"):
            raise EmulatorError(str(errors[0]["message"]))

    def _ask(
        self, port: int, method: str, target: str, content: bytes | BinaryIO = b"", kind: str = ""
    ) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        try:
            # With a token, a body may have any type: no page could send one.
            headers = {"Authorization": "Bearer none", **({"Content-Type": kind} if kind else {})}
            connection.request(method, target, content, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EmulatorError(f"the emulator does not answer: {error}") from None
        finally:
            connection.close()
        if answer.status in (409, 412):
            raise _ThereError
        found: dict[str, Any] = json.loads(text) if text else {}
        if answer.status >= 400:
            raise EmulatorError(str(found["error"]["message"]))
        return found


@contextmanager
def _field(name: str) -> Iterator[None]:
    """Name the field of the seed in errors; what is there already is left alone."""
    try:
        yield
    except _ThereError:
        return
    except (EmulatorError, OSError) as error:
        raise EmulatorError(f"seed: {name}: {error}", getattr(error, "hint", "")) from None
