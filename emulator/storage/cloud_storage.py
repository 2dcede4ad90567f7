"""Cloud Storage: a service of its own on a loopback port of its own, whose contents pass through in pieces."""

import time
import zlib
from collections.abc import Iterator
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.faults import Fault, Faults, Kind
from cos_customizer.emulator.gate import loopback_gate
from cos_customizer.emulator.http_server import ConnectionServer, GatedHandler, Record
from cos_customizer.emulator.request_body import PIECE, RequestBody
from cos_customizer.emulator.storage import driver_bucket
from cos_customizer.emulator.storage.api import StorageApi, close
from cos_customizer.emulator.storage.batch import answer_batch, is_batch
from cos_customizer.emulator.storage.requests import Answer, Request, error_answer
from cos_customizer.emulator.storage.store import Store

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_PHRASES = {308: "Resume Incomplete", 499: "Client Closed Request"}
_BODY_SECONDS = 3600.0
"""How long an upload's request may take: it holds up nobody, and has no memory."""


class _Handler(GatedHandler):
    protocol_version = "HTTP/1.1"
    body_seconds = _BODY_SECONDS
    server: "_Server"

    def service(self) -> str:
        return "storage"

    def answer_request(self, body: RequestBody) -> None:
        fault = self.server.fault(self.command, self.path)
        if fault is not None and fault.kind == "hold" and fault.when == "before":
            self.server.faults.hold(fault)
        if fault is None or fault.kind == "hold" or (fault.kind == "drop" and fault.when == "after"):
            answer = self._carry_out(body)
        else:
            answer = _failure(fault)
            self.close_connection = True
        try:
            while body.read(PIECE):  # what nobody wanted to have
                pass
            if fault is not None and fault.kind == "hold" and fault.when == "after":
                self.server.faults.hold(fault)
            if fault is not None and fault.kind == "drop":
                self.close_connection = True
            else:
                self._send(answer)
        finally:
            close(answer)

    def _carry_out(self, body: RequestBody) -> Answer:
        request = Request(self.command, self.path, self.headers, body, self.server.longest_body)
        try:
            if is_batch(request.path):
                return answer_batch(request, self._carry_out_part)
            return self.server.api.answer(self._overridden(request))
        except ApiError as error:
            return error_answer(error)

    def _carry_out_part(self, request: Request) -> Answer:
        fault = self.server.fault(request.method, request.target, with_connection=False)
        answer = self.server.api.answer(request) if fault is None else _failure(fault)
        self.server.record("storage", request.method, request.target, answer.status, 0.0)
        return answer

    def _overridden(self, request: Request) -> Request:
        """Let a POST stand for another method, as Google's clients do where a proxy lets nothing else pass."""
        if (override := self.headers.get("X-HTTP-Method-Override")) is None:
            return request
        if self.command != "POST" or override not in _METHODS:
            raise ApiError(400, "invalid", f"A {self.command} cannot stand for {override[:100]}.")
        return Request(override, request.target, request.headers, request.body, request.longest)

    def _send(self, answer: Answer) -> None:
        unpacked = self._unpacked(answer)
        self.record(answer.status)
        self.send_response(answer.status, _PHRASES.get(answer.status))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        is_chunked = unpacked is not None and self.request_version != "HTTP/1.0"
        if is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif unpacked is not None:
            self.close_connection = True
        elif answer.status not in (204, 304):
            self.send_header("Content-Length", str(answer.length if answer.media else len(answer.content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD" or answer.status in (204, 304):
            return
        if unpacked is not None:
            self._send_pieces(unpacked, is_chunked)
        elif answer.media is None:
            self.wfile.write(answer.content)
        elif answer.length:
            self.wfile.flush()
            self.connection.sendfile(answer.media, answer.start, answer.length)

    def _unpacked(self, answer: Answer) -> Iterator[bytes] | None:
        """The pieces of a compressed content; None for one that is sent as it is, or is not what it seems."""
        if not answer.is_unpacked or answer.media is None:
            return None
        try:
            next(_unpack(answer.media), None)
        except zlib.error:
            return None
        answer.media.seek(0)
        return _unpack(answer.media)

    def _send_pieces(self, pieces: Iterator[bytes], is_chunked: bool) -> None:
        try:
            for piece in pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
        except zlib.error:
            self.close_connection = True  # no last chunk: the client knows that something is missing
            return
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")

    def send_header(self, keyword: str, value: str) -> None:
        """Send a header; an object's metadata, which is among them, may hold anything."""
        super().send_header(
            *("".join(filter(str.isprintable, text)).encode().decode("latin-1") for text in (keyword, str(value)))
        )

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class has it so)
        """Say nothing: the request log has it."""


def _failure(fault: Fault) -> Answer:
    message = fault.message or f"The request was made to fail with {fault.status}"
    return error_answer(ApiError(fault.status, fault.reason or "backendError", message))


def _unpack(file: BinaryIO) -> Iterator[bytes]:
    machine = zlib.decompressobj(16 + zlib.MAX_WBITS)
    while packed := machine.unconsumed_tail or machine.unused_data or file.read(PIECE):
        if machine.eof:  # several compressed files one after the other are one
            machine = zlib.decompressobj(16 + zlib.MAX_WBITS)
        if piece := machine.decompress(packed, PIECE):
            yield piece
    if not machine.eof:
        raise zlib.error("the content ends early")


class _Server(ConnectionServer):
    request_queue_size = 128

    def __init__(
        self, port: int, api: StorageApi, faults: Faults, record: Record, guest_host: str, longest_body: int
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.api = api
        own_port = self.server_address[1]
        self.gate = loopback_gate(own_port, f"{guest_host}:{own_port}")
        self.longest_body = longest_body
        self.faults = faults
        self.record = record

    def fault(self, method: str, path: str, with_connection: bool = True) -> Fault | None:
        """The fault that is ordered for a request; a delay is over when this returns."""
        if delay := self.faults.take("delay", method=method, path=path):
            time.sleep(delay.seconds)
        kinds: tuple[Kind, ...] = ("http", "drop", "hold") if with_connection else ("http",)
        return self.faults.take(*kinds, method=method, path=path)


class CloudStorage:
    """The Cloud Storage service.

    Args:
        directory: where objects are kept.
        port: TCP port on loopback; 0 takes a free one, `port` then says which.
        faults: applied to requests (kinds `http`, `drop`, `delay` and `hold`).
        record: called after each request.
        guest_host: the address under which guests reach this machine's loopback.
        longest_body: bytes that a request's body may have.

    Attributes:
        store: buckets and objects.
        port: the port.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self, directory: Path, port: int, faults: Faults, record: Record, guest_host: str, longest_body: int
    ) -> None:
        self._directory = Path(directory)
        self.store = _opened(self._directory)
        self._api = StorageApi(self.store)
        try:
            self._server = _Server(port, self._api, faults, record, guest_host, longest_body)
        except OSError:
            self.store.close()
            raise
        self.port: int = self._server.server_address[1]

    @property
    def served(self) -> tuple[ConnectionServer, type[GatedHandler]]:
        """Its HTTP server, with the class of its handlers."""
        return self._server, _Handler

    @property
    def server(self) -> ConnectionServer:
        """Its HTTP server."""
        return self._server

    def reopen(self) -> None:
        """Go on with what is in the directory now; the store was closed."""
        self.store = _opened(self._directory)
        self._server.api = self._api = StorageApi(self.store)

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def stop(self) -> None:
        """Stop answering; what is stored stays."""
        self._server.stop()
        self.store.close()

    def send(self, address: str, content: bytes) -> None:
        """Send all of an object to the session of a resumable upload, as a machine does that has no network.

        Args:
            address: path and query of the session.
            content: of the object. What is refused is not sent.
        """
        self._api.answer(Request("PUT", address, Message(), BytesIO(content), len(content)))

    def ensure_bucket(self, name: str, project: str) -> None:
        """Make a bucket unless it exists.

        Args:
            name: its name.
            project: whose it is.
        """
        self._api.buckets.ensure(name, project)


def _opened(directory: Path) -> Store:
    store = Store(directory)
    store.give(*driver_bucket.given())
    return store
