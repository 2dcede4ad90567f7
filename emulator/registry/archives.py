"""Files that hold container images: what `docker save`, `podman save`, `skopeo copy` and `buildah push` write.

A docker-archive is a tar file with a `manifest.json` (docker's image specification, version 1.2); an OCI layout, as a
directory or in a tar file, has an `index.json` (https://github.com/opencontainers/image-spec/blob/main/image-layout.md).
"""

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, cast

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.registry.names import is_digest
from cos_customizer.emulator.registry.store import LONGEST_MANIFEST, PIECE, Manifest

_DOCKER = "application/vnd.docker"
_IMAGE = f"{_DOCKER}.distribution.manifest.v2+json"
_CONFIG = f"{_DOCKER}.container.image.v1+json"
_LAYER = f"{_DOCKER}.image.rootfs.diff.tar"
_INDEX = "application/vnd.oci.image.index.v1+json"
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
"""Annotations of an OCI layout's images that say how they are called; the second may be a tag alone."""
_GZIP = b"\x1f\x8b"


class Target(Protocol):
    """Where images go."""

    def put_blob(self, digest: str, content: BinaryIO) -> None:
        """Keep a blob, unless it is there."""

    def put_manifest(self, name: str, manifest: Manifest) -> None:
        """Keep a manifest; an empty name: the image that it is part of follows."""


@dataclass(frozen=True)
class StoredImage:
    """An image in a file.

    Attributes:
        names: how it is called there.
        send: sends it: to where, and under which names.
    """

    names: tuple[str, ...]
    send: Callable[[Target, list[str]], None]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[list[StoredImage]]:
    """Open a file of images, or a directory.

    Raises:
        EmulatorError: it holds none.
    """
    with contextlib.ExitStack() as stack:
        try:
            files = _Directory(path) if path.is_dir() else _Tar(stack.enter_context(tarfile.open(path)))
            found = _docker_images(files) if files.has("manifest.json") else _oci_images(files)
            if not found:
                raise ValueError("it is empty")
            yield found
        except (tarfile.TarError, EOFError, KeyError, ValueError, TypeError, OSError, RecursionError) as error:
            raise EmulatorError(
                f"{path} holds no container image that can be read: {error}",
                "it is to be what `docker save` or `podman save` writes, or an OCI layout (a directory, or a tar file)",
            ) from error


class _Directory:
    def __init__(self, path: Path) -> None:
        self._path = path.resolve()

    def has(self, name: str) -> bool:
        return (self._path / name).is_file()

    def open(self, name: str) -> BinaryIO:
        found = (self._path / name).resolve()
        if not found.is_relative_to(self._path):
            raise ValueError(f"{name} leads out of it")
        return found.open("rb")


class _Tar:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._names = {str(PurePosixPath(member.name)): member for member in tar}

    def has(self, name: str) -> bool:
        return name in self._names

    def open(self, name: str) -> BinaryIO:
        file = self._tar.extractfile(self._names[str(PurePosixPath(name))])  # follows links within the file
        if file is None:
            raise ValueError(f"{name} is no file")
        return cast(BinaryIO, file)


_Files = _Directory | _Tar


def _content(files: _Files, name: str) -> bytes:
    with files.open(name) as file:
        content = file.read(LONGEST_MANIFEST + 1)
    if len(content) > LONGEST_MANIFEST:
        raise ValueError(f"{name} is too long")
    return content


def _docker_images(files: _Files) -> list[StoredImage]:
    entries: list[dict[str, Any]] = json.loads(_content(files, "manifest.json"))
    return [StoredImage(tuple(each.get("RepoTags") or ()), _docker_sender(files, each)) for each in entries]


def _docker_sender(files: _Files, entry: dict[str, Any]) -> Callable[[Target, list[str]], None]:
    def send(target: Target, names: list[str]) -> None:
        config = _descriptor(files, str(entry["Config"]), _CONFIG)
        layers = [_descriptor(files, str(layer), _LAYER) for layer in entry["Layers"]]
        for descriptor, name in zip([config, *layers], [entry["Config"], *entry["Layers"]], strict=True):
            with files.open(str(name)) as content:
                target.put_blob(str(descriptor["digest"]), content)
        manifest = {"schemaVersion": 2, "mediaType": _IMAGE, "config": config, "layers": layers}
        for name in names:
            target.put_manifest(name, Manifest(_IMAGE, json.dumps(manifest).encode()))

    return send


def _descriptor(files: _Files, name: str, kind: str) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with files.open(name) as file:
        while piece := file.read(PIECE):
            if not size and kind == _LAYER and piece.startswith(_GZIP):
                kind += ".gzip"
            digest.update(piece)
            size += len(piece)
    return {"mediaType": kind, "size": size, "digest": f"sha256:{digest.hexdigest()}"}


def _oci_images(files: _Files) -> list[StoredImage]:
    index: dict[str, Any] = json.loads(_content(files, "index.json"))
    return [StoredImage(_oci_names(each), _oci_sender(files, each)) for each in index["manifests"]]


def _oci_names(descriptor: dict[str, Any]) -> tuple[str, ...]:
    annotations = descriptor.get("annotations") or {}
    names = [str(annotations[name]) for name in _NAMES if name in annotations]
    return tuple(name for name in names[:1] if "/" in name or ":" in name)  # not a tag alone


def _oci_sender(files: _Files, descriptor: dict[str, Any]) -> Callable[[Target, list[str]], None]:
    def send(target: Target, names: list[str]) -> None:
        manifest = _send_oci(files, descriptor, target)
        for name in names:
            target.put_manifest(name, manifest)

    return send


def _send_oci(files: _Files, descriptor: dict[str, Any], target: Target, depth: int = 0) -> Manifest:
    """Send what a manifest names, of all platforms that are there; returns the manifest, which is not sent yet."""
    content = _content(files, _blob(str(descriptor["digest"])))
    named: dict[str, Any] = json.loads(content)
    kind = str(descriptor.get("mediaType") or named.get("mediaType") or _INDEX)
    manifest = Manifest(kind, content)
    if manifest.digest != descriptor["digest"] or depth > 2:
        raise ValueError(f"{descriptor['digest']} is damaged")
    for below in named.get("manifests", ()):
        target.put_manifest("", _send_oci(files, below, target, depth + 1))
    for each in [*([named["config"]] if "config" in named else []), *named.get("layers", ())]:
        if not each.get("urls"):
            with files.open(_blob(str(each["digest"]))) as file:
                target.put_blob(str(each["digest"]), file)
    return manifest


def _blob(digest: str) -> str:
    if not is_digest(digest):
        raise ValueError(f"{digest[:100]} is no digest that is known here")
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"
