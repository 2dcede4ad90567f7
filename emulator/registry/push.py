"""Sends images to the registry of a running emulator, as `docker push` does."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.registry import names
from cos_customizer.emulator.registry.archives import StoredImage, opened
from cos_customizer.emulator.registry.errors import RegistryError
from cos_customizer.emulator.registry.names import Reference
from cos_customizer.emulator.registry.store import PIECE, Manifest

_PATIENCE = 600.0


def import_file(port: int, path: Path, name: str = "") -> list[Reference]:
    """Put the images of a file into the registry.

    Args:
        port: of the registry.
        path: the file, or the directory, as `archives` knows them.
        name: what the image is to be called; empty: as it is called in the file.

    Returns:
        The names of the images.

    Raises:
        EmulatorError: the file cannot be read, an image has no name, or the registry refuses it.
    """
    with opened(path) as images:
        if name and len(images) != 1:
            raise EmulatorError(
                f"{path} holds {len(images)} images, so that {name} can be none of them",
                "leave the name out, and they keep their own",
            )
        wanted = [(image, _references(image, name, path)) for image in images]
        for image, references in wanted:
            image.send(_Client(port, references[0].repository), [str(each) for each in references])
    return [reference for _, references in wanted for reference in references]


def _references(image: StoredImage, name: str, path: Path) -> list[Reference]:
    try:
        found = [names.parse(each) for each in ([name] if name else image.names)]
    except RegistryError as error:
        raise EmulatorError(str(error), "for example: ubuntu, or gcr.io/my-project/app:1") from error
    if not found:
        raise EmulatorError(f"{path} does not say what its image is called", "give its name, after the file")
    return found


class _Client:
    """Where `archives` send images: a repository of the registry.

    Args:
        port: of the registry.
        repository: takes blobs, which all repositories share, and manifests without a name.
    """

    def __init__(self, port: int, repository: str) -> None:
        self._port, self._repository = port, repository

    def put_blob(self, digest: str, content: BinaryIO) -> None:
        """See `archives.Target`."""
        base = f"/v2/{self._repository}/blobs"
        with self._ask("HEAD", f"{base}/{digest}") as answer:
            if answer.status == 200:
                return
        with self._ask("POST", f"{base}/uploads/") as answer:
            _check(answer, 202)
            location = answer.getheader("Location") or ""
        with self._ask("PATCH", location, iter(lambda: content.read(PIECE), b"")) as answer:
            _check(answer, 202)
        with self._ask("PUT", f"{location}?{urlencode({'digest': digest})}") as answer:
            _check(answer, 201)

    def put_manifest(self, name: str, manifest: Manifest) -> None:
        """See `archives.Target`."""
        to = names.parse(name) if name else Reference(self._repository, manifest.digest)
        path = f"/v2/{to.repository}/manifests/{to.version}"
        with self._ask("PUT", path, iter([manifest.content]), manifest.kind) as answer:
            _check(answer, 201)

    @contextmanager
    def _ask(
        self, method: str, path: str, body: Iterator[bytes] | None = None, kind: str = "application/octet-stream"
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if body else {}, encode_chunked=True)
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise EmulatorError(
                f"the emulator's registry does not answer: {error}", "does the emulator run?"
            ) from error
        finally:
            connection.close()


def _check(answer: http.client.HTTPResponse, status: int) -> None:
    content = answer.read(1 << 16)
    if answer.status == status:
        return
    try:
        message = str(json.loads(content)["errors"][0]["message"])
    except (ValueError, KeyError, IndexError, TypeError):
        message = f"{answer.status} {answer.reason}"
    raise EmulatorError(f"the emulator's registry refuses it: {message}")
