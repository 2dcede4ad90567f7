"""Google Cloud as a dry run has it: reads are real; what would be changed is recorded, and answered as if it were.

It sits below Google's clients, as a transport adapter of their HTTP sessions: so nothing that a build sends gets past
it, and the operations are those of a build.
"""

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from cos_customizer.customizer.references import ObjectRef
from cos_customizer.gcp.serial_console import HALTED

_TELLING = ("forceCreate", "uploadType", "name")
"""Parameters of an address that say what a request does; others are the clients' business."""
_INSTANCES = re.compile(r"compute/v1/projects/[^/]+/zones/[^/]+/instances")
_IMAGES = re.compile(r"compute/v1/projects/[^/]+/global/images")
_OBJECT = re.compile(r"(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)")
_UPLOAD = re.compile(r"upload/storage/v1/b/[^/]+/o")


@dataclass(frozen=True)
class PlannedRequest:
    """A call that changes something.

    Attributes:
        method: Of HTTP.
        path: `compute/v1/projects/…`, with the parameters that say what it does.
        body: In the API's JSON form; of an upload, the object's metadata.
    """

    method: str
    path: str
    body: dict[str, Any]


class Rehearsal(HTTPAdapter):
    """Passes reads on, records everything else, and answers for what is not there.

    Args:
        guests: What each VM prints on its third serial port, by the VM's name; asked when it is read.
        sent: What VMs send to Cloud Storage: content by object. It is there once its upload has begun.

    Attributes:
        requests: What would have been sent, in order.
    """

    def __init__(self, guests: Mapping[str, Callable[[], str]], sent: Mapping[ObjectRef, bytes] | None = None) -> None:
        super().__init__()
        self._sent = sent or {}
        self.requests: list[PlannedRequest] = []
        self._guests = guests
        self._instances: set[str] = set()
        self._images: dict[str, dict[str, Any]] = {}
        """By path, with name or id, an image that was made, or what was changed of one that is there."""
        self._upload: dict[str, Any] = {}

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Answer a request, or pass it on; a transport adapter's method."""

        def really(which: PreparedRequest) -> Response:
            return super(Rehearsal, self).send(which, stream, timeout, verify, cert, proxies)

        address = urlsplit(request.url or "")
        path, query = address.path.lstrip("/"), parse_qs(address.query)
        if request.method == "GET" or path.endswith(":testIamPermissions"):  # a question, whatever its verb
            return self._read(request, path, query, really)
        if _UPLOAD.fullmatch(path):
            return self._take_upload(request, path, query)
        body = json.loads(_bytes_of(request.body) or b"{}")
        if path.endswith(":asymmetricSign"):  # of what has the time of the dry run in it
            self._record(request, path, query, {"digest": dict.fromkeys(body["digest"], "…")})
            return self._answer(request, {"signature": ""})
        self._record(request, path, query, body)
        if "/storage/" in f"/{path}":
            return self._answer(request, {}, 204)
        self._change(request.method or "", path, body)
        return self._answer(request, _operation(path))

    def _record(
        self, request: PreparedRequest, path: str, query: Mapping[str, list[str]], body: dict[str, Any]
    ) -> None:
        telling = [(name, value) for name in _TELLING for value in query.get(name, [])]
        words = f"?{urlencode(telling, safe='/')}" if telling else ""
        self.requests.append(
            PlannedRequest(request.method or "", unquote(self._by_name(path)) + words, _in_order(body))
        )

    def _by_name(self, path: str) -> str:
        """A path with the name of an image that was made in the place of its id, which only a build can know."""
        found = _IMAGES.match(path)
        if found is None:
            return path
        image, _, more = path[found.end() + 1 :].partition("/")
        name = self._images.get(f"{found[0]}/{image}", {}).get("name", image)
        return "/".join(part for part in (found[0], name, more) if part)

    def _read(
        self,
        request: PreparedRequest,
        path: str,
        query: Mapping[str, list[str]],
        really: Callable[[PreparedRequest], Response],
    ) -> Response:
        vm, _, console = path.partition("/serial")
        if vm in self._instances:
            return self._answer(request, self._serial_output(vm, query) if console else {"status": "RUNNING"})
        if (content := self._content(path)) is not None:
            if query.get("alt") == ["media"]:
                return self._send_content(request, content)
            return self._answer(request, {"generation": "1", "size": str(len(content))})
        image = self._images.get(path, {})
        if "name" in image:
            return self._answer(request, image)
        if not _IMAGES.fullmatch(path.rpartition("/")[0]):
            return really(request)
        answer = really(request)
        if answer.status_code != 200:
            return answer
        there = answer.json()
        changes = [self._images.get(f"{path.rpartition('/')[0]}/{there.get(key)}", {}) for key in ("name", "id")]
        return self._answer(request, {**there, **changes[0], **changes[1]})

    def _content(self, path: str) -> bytes | None:
        """What a VM has sent to the object that a path names."""
        found = _OBJECT.fullmatch(path)
        return self._sent.get(ObjectRef(found[1], unquote(found[2]))) if found else None

    def _send_content(self, request: PreparedRequest, content: bytes) -> Response:
        head = {"Content-Type": "application/gzip", "Content-Length": str(len(content))}
        return self.build_response(request, HTTPResponse(io.BytesIO(content), head, 200, preload_content=False))

    def _serial_output(self, vm: str, query: Mapping[str, list[str]]) -> dict[str, Any]:
        port, guest = query.get("port", ["1"])[0], self._guests.get(vm.rpartition("/")[2])
        text = f"{HALTED.decode()}\n" if port == "1" else guest() if port == "3" and guest else ""
        start = int(query.get("start", ["0"])[0])
        return {"contents": text[start:], "start": str(start), "next": str(len(text))}

    def _change(self, method: str, path: str, body: dict[str, Any]) -> None:
        """Remember what later reads will ask for."""
        if method == "POST" and _INSTANCES.fullmatch(path):
            self._instances.add(f"{path}/{body['name']}")
        elif method == "POST" and _IMAGES.fullmatch(path):
            now = datetime.now(UTC).isoformat()
            made = {"status": "READY", "id": "1", "creationTimestamp": now, "labelFingerprint": "…"}
            image = {**body, **made}
            self._images |= {f"{path}/{body['name']}": image, f"{path}/{image['id']}": image}
        elif method == "PATCH":
            self._images.setdefault(path, {}).update(body)
        elif path.endswith("/setLabels"):
            there = path.removesuffix("/setLabels")
            self._images.setdefault(there, {})["labels"] = body.get("labels", {})

    def _take_upload(self, request: PreparedRequest, path: str, query: Mapping[str, list[str]]) -> Response:
        """Take an upload in one request, or in several: one that says what comes, and one for each piece of it.

        Sources: https://cloud.google.com/storage/docs/uploads-downloads#uploads,
        https://cloud.google.com/storage/docs/performing-resumable-uploads.
        """
        content = _bytes_of(request.body)
        if query.get("uploadType") == ["multipart"]:
            metadata = _first_part(_bytes_of(request.headers["Content-Type"]), content)
            self._record(request, path, query, metadata)
            return self._answer(request, metadata)
        if request.method == "POST":
            self._upload = json.loads(content)
            self._record(request, path, query, self._upload)
            return self._answer(request, {}, headers={"Location": f"{request.url}&upload_id=1"})
        self._record(request, path, {}, {})
        last, total = re.findall(r"\d+|\*", str(request.headers["Content-Range"]))[-2:]
        if total == "*" or int(last) + 1 < int(total):
            return self._answer(request, {}, 308, {"Range": f"bytes=0-{last}"})
        kind, _, checksum = str(request.headers.get("x-goog-hash", "")).partition("=")
        return self._answer(request, {**self._upload, "md5Hash" if kind == "md5" else kind: checksum})

    def _answer(
        self,
        request: PreparedRequest,
        content: Mapping[str, Any],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        body = io.BytesIO(json.dumps(content).encode() if status == 200 else b"")
        head = {"Content-Type": "application/json", **(headers or {})}
        return self.build_response(request, HTTPResponse(body, head, status, preload_content=False))


def _in_order(part: Any) -> Any:
    """A body with its fields in one order, names first: Google's messages keep them in none."""
    if isinstance(part, list):
        return [_in_order(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {key: _in_order(part[key]) for key in sorted(part, key=lambda key: (key != "name", key))}


def _operation(path: str) -> dict[str, Any]:
    """An operation that is done, on what an address names."""
    scope = re.match(r"compute/v1/projects/[^/]+/(zones/[^/]+|global)", path)
    where = scope[0] if scope else path
    name = "operation-of-a-dry-run"
    return {"name": name, "status": "DONE", "selfLink": f"{where}/operations/{name}"}


def _bytes_of(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else bytes(body.read())


def _first_part(content_type: bytes, content: bytes) -> dict[str, Any]:
    """The first part of an upload in one request: the object's metadata. The second one is its content.

    Source: https://cloud.google.com/storage/docs/performing-object-uploads#multipart.
    """
    message = message_from_bytes(b"Content-Type: " + content_type + b"\r\n\r\n" + content)
    first: Any = message.get_payload(0)
    metadata: dict[str, Any] = json.loads(first.get_payload(decode=True))
    return metadata
