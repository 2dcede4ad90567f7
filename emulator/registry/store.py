"""Images on disk: blobs by their digests, manifests and tags by repository. What is half written is never seen.

blobs/DIGEST                              uploads/ID
repositories/NAME/_manifests/DIGEST       the media type, a line end, the manifest
repositories/NAME/_tags/TAG               the manifest's digest, a blank, `pushed` or `pulled`
"""

import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cos_customizer.emulator.files import replacing
from cos_customizer.emulator.registry.errors import RegistryError, unknown_blob
from cos_customizer.emulator.registry.names import is_digest, is_tag

PIECE = 1 << 20
LONGEST_MANIFEST = 4 << 20
"""Bytes of a manifest; registries take at least these (distribution-spec)."""


class Source(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most so many; none at the end."""


@dataclass(frozen=True)
class Manifest:
    """What says of what an image is made.

    Attributes:
        kind: its media type.
        content: its bytes.
    """

    kind: str
    content: bytes

    @property
    def digest(self) -> str:
        """Its digest, by which it is known."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    def digests(self) -> list[str]:
        """Return the digests of the blobs and manifests that it names, but for those that are elsewhere (`urls`).

        Raises:
            RegistryError: 400, it is no manifest.
        """
        try:
            content = json.loads(self.content)
            named: list[dict[str, Any]] = [*content.get("layers", ()), *content.get("manifests", ())]
            named += [content["config"]] if "config" in content else []
            found = [str(each["digest"]) for each in named if not each.get("urls")]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise RegistryError(400, "MANIFEST_INVALID", "the manifest cannot be read") from None
        if not named or not all(map(is_digest, found)):
            raise RegistryError(400, "MANIFEST_INVALID", "the manifest names nothing, or by digests unknown here")
        return found


class Store:
    """The images of a registry.

    Args:
        directory: where they are; made when something is kept.
        most_bytes: what all blobs and uploads may take.
    """

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self._directory = directory
        self._blobs, self._uploads = directory / "blobs", directory / "uploads"
        self._repositories = directory / "repositories"
        self._most = most_bytes
        self._lock = threading.Lock()
        self._collect()
        self._used = sum(blob.stat().st_size for blob in self._blobs.glob("*"))

    @property
    def used(self) -> int:
        """Bytes that blobs and uploads take."""
        return self._used

    def _collect(self) -> None:
        """Remove what no manifest names, what a killed emulator has left half written among it."""
        for left in [*self._uploads.glob("*"), *self._repositories.rglob(".*")]:
            left.unlink(missing_ok=True)
        named = set()
        for name in self.repositories():
            for path in self._of(name, "_manifests").glob("sha256:*"):
                named |= set(_read(path).digests())
        for blob in self._blobs.glob("*"):
            if blob.name not in named:
                blob.unlink()

    def blob(self, digest: str) -> Path | None:
        """Return the file of a blob, if it is there."""
        path = self._blobs / digest
        return path if is_digest(digest) and path.is_file() else None

    def begin_upload(self) -> str:
        """Begin an upload; returns its id."""
        self._uploads.mkdir(parents=True, exist_ok=True)
        name = secrets.token_hex(16)
        (self._uploads / name).touch()
        return name

    def upload_size(self, name: str) -> int:
        """Return how many bytes of an upload are there.

        Raises:
            RegistryError: 404, there is no such upload.
        """
        return self._upload(name).stat().st_size

    def append(self, name: str, source: Source) -> int:
        """Add bytes to an upload; returns how many it has then.

        Raises:
            RegistryError: 404, there is no such upload; 507, the registry is full.
        """
        with self._upload(name).open("ab") as file:
            while piece := source.read(PIECE):
                self._take(len(piece))
                file.write(piece)
            return file.tell()

    def end_upload(self, name: str, digest: str) -> Path:
        """Keep what was uploaded as a blob; returns its file.

        Raises:
            RegistryError: 404, there is no such upload; 400, it has another digest.
        """
        upload = self._upload(name)
        with upload.open("rb") as file:
            found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if found != digest:
            self.cancel_upload(name)
            raise RegistryError(400, "DIGEST_INVALID", f"what was sent is {found}, not {digest[:100]}")
        self._blobs.mkdir(parents=True, exist_ok=True)
        if blob := self.blob(digest):
            self.cancel_upload(name)
            return blob
        return upload.replace(self._blobs / digest)

    def cancel_upload(self, name: str) -> None:
        """Forget an upload.

        Raises:
            RegistryError: 404, there is no such upload.
        """
        upload = self._upload(name)
        size = upload.stat().st_size
        upload.unlink(missing_ok=True)
        self._take(-size)

    def add(self, digest: str, source: Source) -> Path:
        """Keep a blob whose digest is known; returns its file.

        Raises:
            RegistryError: 400, it has another digest; 507, the registry is full.
        """
        name = self.begin_upload()
        try:
            self.append(name, source)
        except BaseException:
            self.cancel_upload(name)
            raise
        return self.end_upload(name, digest)

    def manifest(self, name: str, version: str) -> Manifest | None:
        """Return a manifest by its tag or digest, if it is there."""
        digest = version if is_digest(version) else self.tag(name, version)[0]
        path = self._of(name, "_manifests") / digest
        return _read(path) if digest and path.is_file() else None

    def tag(self, name: str, tag: str) -> tuple[str, bool]:
        """Return the digest of a tag's manifest (empty: there is none), and whether it was kept of a pull."""
        try:
            digest, origin = (self._of(name, "_tags") / tag).read_text().split()
        except (OSError, ValueError):
            return "", False
        return digest, origin == "pulled"

    def put_manifest(self, name: str, manifest: Manifest, tag: str = "", pulled: bool = False) -> None:
        """Keep a manifest.

        Args:
            name: the repository.
            manifest: all that it names must be there, unless it comes of a pull.
            tag: to be given to it.
            pulled: it comes of a pull: what is missing comes when it is asked for.

        Raises:
            RegistryError: 400, what it names is not there.
        """
        for digest in manifest.digests():
            if not pulled and self.blob(digest) is None and self.manifest(name, digest) is None:
                raise RegistryError(400, "MANIFEST_BLOB_UNKNOWN", f"the manifest names {digest}, which is not there")
        _write(self._of(name, "_manifests") / manifest.digest, f"{manifest.kind}\n".encode() + manifest.content)
        if tag:
            self.put_tag(name, tag, manifest.digest, pulled)

    def put_tag(self, name: str, tag: str, digest: str, pulled: bool) -> None:
        """Give a tag to a manifest that is there; see `put_manifest`."""
        _write(self._of(name, "_tags") / tag, f"{digest} {'pulled' if pulled else 'pushed'}".encode())

    def delete_manifest(self, name: str, version: str) -> bool:
        """Remove a tag, or a manifest with its tags; returns whether it was there. Blobs go at the next start."""
        path = self._of(name, "_manifests" if is_digest(version) else "_tags") / version
        there = path.is_file()
        path.unlink(missing_ok=True)
        for tag in self.tags(name):
            if self.tag(name, tag)[0] == version:
                (self._of(name, "_tags") / tag).unlink(missing_ok=True)
        return there

    def tags(self, name: str) -> list[str]:
        """Return the tags of a repository."""
        return sorted(path.name for path in self._of(name, "_tags").glob("*") if is_tag(path.name))

    def manifest_digests(self, name: str) -> list[str]:
        """Return the digests of the manifests of a repository."""
        return sorted(path.name for path in self._of(name, "_manifests").glob("*") if is_digest(path.name))

    def repositories(self) -> list[str]:
        """Return the names of all repositories that hold anything."""
        return sorted(self._walk())

    def _walk(self) -> Iterator[str]:
        for path in self._repositories.rglob("_manifests"):
            if any(path.iterdir()):
                yield str(path.parent.relative_to(self._repositories))

    def _of(self, name: str, kind: str) -> Path:
        return self._repositories / name / kind

    def _upload(self, name: str) -> Path:
        path = self._uploads / name
        if len(name) != 32 or not name.isalnum() or not path.is_file():
            raise RegistryError(404, "BLOB_UPLOAD_UNKNOWN", f"there is no upload {name[:100]}")
        return path

    def _take(self, size: int) -> None:
        with self._lock:
            if size > 0 and self._used + size > self._most:
                raise RegistryError(
                    507,
                    "DENIED",
                    f"the emulator's registry is full ({self._most >> 20} MiB): delete images, or set "
                    "COS_CUSTOMIZER_EMULATOR_MAX_REGISTRY_MIB",
                )
            self._used += size


def blob_of(store: Store, digest: str) -> Path:
    """Return the file of a blob.

    Raises:
        RegistryError: 404.
    """
    if path := store.blob(digest):
        return path
    raise unknown_blob(digest)


def _read(path: Path) -> Manifest:
    kind, _, content = path.read_bytes().partition(b"\n")
    return Manifest(kind.decode(), content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_bytes(content)
