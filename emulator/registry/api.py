"""The requests of the Distribution API, answered from the store or by way of an upstream registry.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md; how Google's registries ask for tokens:
https://distribution.github.io/distribution/spec/auth/token/.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from cos_customizer.emulator.registry import names
from cos_customizer.emulator.registry.errors import RegistryError, unknown_manifest
from cos_customizer.emulator.registry.store import LONGEST_MANIFEST, Manifest, Source, Store, blob_of
from cos_customizer.emulator.registry.upstream import Upstream

_STORAGE = "https://www.googleapis.com/auth/devstorage"
CLOUD = "https://www.googleapis.com/auth/cloud-platform"
_MAY_WRITE = frozenset((CLOUD, f"{_STORAGE}.read_write", f"{_STORAGE}.full_control"))
_MAY_READ = _MAY_WRITE | {f"{CLOUD}.read-only", f"{_STORAGE}.read_only"}
"""Scopes of a VM's service account (https://cloud.google.com/artifact-registry/docs/access-control#compute)."""
_TOKEN_SECONDS = 3599
_ANONYMOUS = "anonymous"
_OF_REPOSITORY = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags)/(?P<rest>[^/]+|uploads/[^/]*)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")

Scopes = Callable[[str], frozenset[str] | None]
"""Returns the scopes of the service account whose header `Authorization` this is; None: it is no running VM's."""


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        target: path and query.
        headers: by names in lower case.
        body: to be read.
        host: of the registry that a guest asks; empty: a program of this machine asks, which may do everything.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: Source
    host: str = ""


@dataclass
class Answer:
    """An answer; its body is bytes, or a file's from `start` on, `size` of them."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Path = b""
    start: int = 0
    size: int | None = None


class RegistryApi:
    """Answers requests.

    Args:
        store: the images.
        upstream: where images come from that are not there.
        scopes: tells what a guest's token may be used for.
    """

    def __init__(self, store: Store, upstream: Upstream, scopes: Scopes) -> None:
        self._store, self._upstream, self._scopes = store, upstream, scopes

    def answer(self, request: Request) -> Answer:
        """Answer a request.

        Raises:
            RegistryError: it is refused.
        """
        path = urlsplit(request.target).path
        if path == "/v2/token" and request.host and request.method == "GET":
            return self._token(request)
        if path in ("/v2/", "/v2") and request.method in ("GET", "HEAD"):
            return self._root(request)
        if path == "/v2/_catalog" and not request.host and request.method == "GET":
            return _json({"repositories": self._store.repositories()})
        found = _OF_REPOSITORY.fullmatch(path)
        if found is None:
            raise RegistryError(404, "UNSUPPORTED", f"a registry has no {request.method} {path[:200]}")
        name = names.repository(request.host, found["name"])
        self._check_access(request, name)
        kind, rest = found["kind"], found["rest"]
        handlers: dict[tuple[str, str], Callable[[], Answer]] = {
            ("manifests", "GET"): lambda: self._manifest(name, rest, request),
            ("manifests", "HEAD"): lambda: self._manifest(name, rest, request),
            ("manifests", "PUT"): lambda: self._put_manifest(name, rest, request),
            ("manifests", "DELETE"): lambda: self._delete(name, rest),
            ("tags", "GET"): lambda: self._tags(name),
            ("blobs", "GET"): lambda: self._blob(name, rest, request),
            ("blobs", "HEAD"): lambda: self._blob(name, rest, request),
            ("uploads", "POST"): lambda: self._begin(found["name"], request),
            ("uploads", "PATCH"): lambda: self._append(found["name"], rest, request),
            ("uploads", "PUT"): lambda: self._end(found["name"], rest, request),
            ("uploads", "GET"): lambda: self._progress(found["name"], rest),
            ("uploads", "DELETE"): lambda: self._cancel(rest),
        }
        if kind == "blobs" and rest.startswith("uploads"):
            kind, rest = "uploads", rest.removeprefix("uploads").strip("/")
        handler = handlers.get((kind, request.method))
        if handler is None:
            raise RegistryError(405, "UNSUPPORTED", f"the emulator's registry has no {request.method} of {kind}")
        return handler()

    def _root(self, request: Request) -> Answer:
        if request.host and names.is_googles(request.host) and "authorization" not in request.headers:
            raise _unauthenticated(request.host)
        return _json({})

    def _token(self, request: Request) -> Answer:
        """Answer with the token that came as the password: what it may do is looked at when it is used."""
        token = _token_of(request) or _ANONYMOUS
        if token != _ANONYMOUS and self._scopes(f"Bearer {token}") is None:
            raise RegistryError(401, "UNAUTHORIZED", "authentication failed: the token is no running VM's")
        return _json({"token": token, "access_token": token, "expires_in": _TOKEN_SECONDS})

    def _check_access(self, request: Request, name: str) -> None:
        if not request.host:
            return
        write = request.method not in ("GET", "HEAD")
        if not write and names.is_public(name):
            return
        if not names.is_googles(name):
            raise RegistryError(403, "DENIED", f"requested access to {name} is denied: guests push to Google's only")
        scopes = self._scopes(f"Bearer {_token_of(request)}")
        if scopes is None:
            raise _unauthenticated(request.host, name, write)
        if not scopes & (_MAY_WRITE if write else _MAY_READ):
            wish = "upload" if write else "download"
            raise RegistryError(
                403, "DENIED", f'Permission "artifactregistry.repositories.{wish}Artifacts" denied on {name}'
            )

    def _manifest(self, name: str, version: str, request: Request) -> Answer:
        if not (names.is_digest(version) or names.is_tag(version)):
            raise unknown_manifest(name, version[:200])
        kept = self._store.manifest(name, version)
        if kept is None or self._store.tag(name, version)[1]:  # the tag of a pull may have moved meanwhile
            kept = self._upstream.manifest(name, version, request.headers.get("accept", "")) or kept
        if kept is None:
            raise unknown_manifest(name, version)
        return Answer(headers={"Content-Type": kept.kind, "Docker-Content-Digest": kept.digest}, body=kept.content)

    def _put_manifest(self, name: str, version: str, request: Request) -> Answer:
        content = bytearray()
        while piece := request.body.read(LONGEST_MANIFEST):
            content += piece
            if len(content) > LONGEST_MANIFEST:
                raise RegistryError(413, "MANIFEST_INVALID", f"a manifest has at most {LONGEST_MANIFEST} bytes")
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        manifest = Manifest(kind, bytes(content))
        if not kind.isprintable() or not kind.endswith("json"):
            raise RegistryError(400, "MANIFEST_INVALID", f"Content-Type {kind[:100]!r} is no manifest's")
        if names.is_digest(version) and version != manifest.digest:
            raise RegistryError(400, "DIGEST_INVALID", f"the manifest is {manifest.digest}, not {version}")
        if not (names.is_digest(version) or names.is_tag(version)):
            raise RegistryError(400, "TAG_INVALID", f"{version[:200]} is no tag")
        self._store.put_manifest(name, manifest, "" if names.is_digest(version) else version)
        location = f"/v2/{name}/manifests/{manifest.digest}"
        return Answer(201, {"Location": location, "Docker-Content-Digest": manifest.digest})

    def _delete(self, name: str, version: str) -> Answer:
        known = names.is_digest(version) or names.is_tag(version)
        if not known or not self._store.delete_manifest(name, version):
            raise unknown_manifest(name, version[:200])
        return Answer(202)

    def _tags(self, name: str) -> Answer:
        tags = self._store.tags(name)
        if not tags and name not in self._store.repositories():
            raise RegistryError(404, "NAME_UNKNOWN", f"repository name not known to the emulator: {name}")
        return _json({"name": name, "tags": tags})

    def _blob(self, name: str, digest: str, request: Request) -> Answer:
        path = self._store.blob(digest)
        if path is None and names.is_digest(digest):
            self._upstream.fetch_blob(name, digest)
        path = blob_of(self._store, digest)
        size = path.stat().st_size
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Accept-Ranges": "bytes",
        }
        if (wanted := _RANGE.fullmatch(request.headers.get("range", ""))) is None or request.method == "HEAD":
            return Answer(200, headers, path, 0, size)
        first, last = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
        if first > last:
            raise RegistryError(416, "RANGE_INVALID", f"the blob has {size} bytes")
        return Answer(206, {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}, path, first, last - first + 1)

    def _begin(self, asked: str, request: Request) -> Answer:
        query = parse_qs(urlsplit(request.target).query)
        mount = query.get("mount", [""])[0]
        source = query.get("from", [""])[0]
        if mount and source and self._store.blob(mount) and self._may_mount(request, source):
            return _created(asked, mount)
        upload = self._store.begin_upload()
        if digest := query.get("digest", [""])[0]:  # all in one request
            self._store.append(upload, request.body)
            self._store.end_upload(upload, digest)
            return _created(asked, digest)
        return _accepted(asked, upload, 0)

    def _may_mount(self, request: Request, source: str) -> bool:
        try:
            return not request.host or names.is_public(names.repository(request.host, source))
        except RegistryError:
            return False

    def _append(self, asked: str, upload: str, request: Request) -> Answer:
        size = self._store.upload_size(upload)
        given = request.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
        if given.isdecimal() and int(given) != size:
            raise RegistryError(416, "RANGE_INVALID", f"the upload has {size} bytes")
        return _accepted(asked, upload, self._store.append(upload, request.body))

    def _end(self, asked: str, upload: str, request: Request) -> Answer:
        digest = parse_qs(urlsplit(request.target).query).get("digest", [""])[0]
        self._store.append(upload, request.body)
        self._store.end_upload(upload, digest)
        return _created(asked, digest)

    def _progress(self, asked: str, upload: str) -> Answer:
        answer = _accepted(asked, upload, self._store.upload_size(upload))
        answer.status = 204
        return answer

    def _cancel(self, upload: str) -> Answer:
        self._store.cancel_upload(upload)
        return Answer(204)


def _token_of(request: Request) -> str:
    """Return the token of a request: as it is, or as a password, whatever the user's name; empty: it has none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2] if scheme.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _json(content: object) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(content).encode())


def _created(asked: str, digest: str) -> Answer:
    return Answer(201, {"Location": f"/v2/{quote(asked)}/blobs/{digest}", "Docker-Content-Digest": digest})


def _accepted(asked: str, upload: str, size: int) -> Answer:
    headers = {"Location": f"/v2/{quote(asked)}/blobs/uploads/{upload}", "Docker-Upload-UUID": upload}
    return Answer(202, {**headers, "Range": f"0-{max(0, size - 1)}"})


def _unauthenticated(host: str, name: str = "", write: bool = False) -> RegistryError:
    text = "authentication required"
    if name:
        text = (
            "Unauthenticated request. Unauthenticated requests do not have permission "
            f'"artifactregistry.repositories.{"upload" if write else "download"}Artifacts" on resource "{name}" (or it '
            "may not exist)"
        )
    challenge = f'Bearer realm="https://{host}/v2/token",service="{host.partition(":")[0]}"'
    return RegistryError(401, "UNAUTHORIZED", text, challenge)
