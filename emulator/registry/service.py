"""The registry on two ports of loopback: for programs of this machine, and for guests.

The port of this machine's programs has all images by their full names: `localhost:PORT/gcr.io/my-project/app:1`. The
port of guests is a proxy, which is asked for a connection to a registry, and is that registry then, by TLS: so a guest
names images as it would elsewhere. Its certificates are those of the emulator's own authority, `GET /certificate`.
"""

import contextlib
import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, cast
from urllib.parse import urlsplit

from cos_customizer.emulator import LOG
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.gate import Gate, loopback_gate
from cos_customizer.emulator.http_server import FOR_BROWSERS, Record, end_serving
from cos_customizer.emulator.registry.api import Answer, RegistryApi, Request
from cos_customizer.emulator.registry.errors import RegistryError
from cos_customizer.emulator.registry.names import is_host
from cos_customizer.emulator.registry.store import PIECE
from cos_customizer.emulator.request_body import RequestBody
from cos_customizer.emulator.turnstile import Turnstile

if TYPE_CHECKING:
    from cos_customizer.emulator.registry.certificates import Authority

_BODY_SECONDS = 3600.0
"""How long a client may take to send a layer."""
_LONGEST_BODY = 1 << 62
"""No limit: the images have one together, and an error that says how to raise it."""
_REASONS = {403: "DENIED", 405: "DENIED"}
"""What clients of registries call a refusal; any other is about the body."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float] = 60
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "_Server"
    front_gate: Gate | None = None
    """Of the port that a connection came in by, if that is another than its server's."""
    host = ""
    """Of the registry that this connection is to, once a guest has asked for it."""

    def do_GET(self) -> None:
        """Answer any request but `CONNECT`."""
        self._began, self._recorded = time.monotonic(), False
        try:
            self._answer()
            self.wfile.flush()
        except (OSError, ValueError):  # the client is gone
            self.close_connection = True
        finally:
            self._record(0)

    def handle_expect_100(self) -> bool:
        """Leave it to the answer: the body of a request that is refused need not be sent."""
        return True

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 (the base class's names)

    def do_CONNECT(self) -> None:
        """Become the registry that a guest asks for."""
        self._began, self._recorded = time.monotonic(), False
        name, _, port = self.path.lower().rpartition(":")
        gate = Gate(frozenset((self.path.lower(),)))
        try:
            gate.check("CONNECT", "/", self.headers)
            if not self.server.is_for_guests or self.host or not is_host(name) or not port.isdecimal():
                raise ApiError(405, "methodNotAllowed", f"The registry opens no connection to {self.path[:200]}.")
        except ApiError as error:
            self.close_connection = True
            self._send(_refusal(error))
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError, ssl.SSLError):
            secure = self.server.authority().context(name).wrap_socket(self.connection, server_side=True)
            self.server.connections.add(secure)
            self.connection, self.rfile, self.wfile = secure, secure.makefile("rb"), secure.makefile("wb")
            self.host = name if port == "443" else self.path.lower()
            self.close_connection = False

    def finish(self) -> None:
        """Close what TLS has taken from the server."""
        with contextlib.suppress(OSError, ValueError):
            super().finish()
        if self.connection is not self.request:
            self.server.connections.discard(self.connection)
            self.connection.close()

    def _record(self, status: int) -> None:
        """Record the request, once, before its answer is sent: a client that has it finds the request in the log."""
        if not self._recorded:
            self._recorded = True
            self.server.record("registry", self.command, self.path, status, time.monotonic() - self._began)

    def _answer(self) -> None:
        server = self.server
        gate = Gate(frozenset((self.host, f"{self.host}:443"))) if self.host else self.front_gate or server.gate
        body: RequestBody | None = None
        try:
            gate.check(self.command, self.path, self.headers)
            body = RequestBody(cast(BinaryIO, self.rfile), self.headers, _LONGEST_BODY, _BODY_SECONDS)
            if self._fault():
                return
            if server.is_for_guests and not self.host:
                self._send(self._certificate())
                return
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.wfile.flush()
            headers = {name.lower(): value for name, value in self.headers.items()}
            with server.turnstile.passing():
                answer = server.api.answer(Request(self.command, self.path, headers, body, self.host))
                if not body.is_read:
                    self.close_connection = True
                self._send(answer)
        except RegistryError as error:
            if body is None or not body.is_read:
                self.close_connection = True  # what the client still sends is no request
            answer = _json(error.status, error.body())
            if error.challenge:
                answer.headers["WWW-Authenticate"] = error.challenge
            self._send(answer)
        except ApiError as error:
            self.close_connection = True
            self._send(_refusal(error))

    def _certificate(self) -> Answer:
        if urlsplit(self.path).path != "/certificate" or self.command != "GET":
            raise RegistryError(404, "UNSUPPORTED", "this is a proxy to registries, and has only /certificate itself")
        return Answer(200, {"Content-Type": "application/x-pem-file"}, self.server.authority().certificate)

    def _fault(self) -> bool:
        """Do as a fault that was ordered says; returns whether the request is answered by it."""
        faults = self.server.faults
        if delay := faults.take("delay", method=self.command, path=self.path):
            time.sleep(delay.seconds)
        fault = faults.take("http", "drop", method=self.command, path=self.path)
        if fault is None:
            return False
        if fault.kind == "drop":
            self.close_connection = True
            return True
        raise RegistryError(fault.status, "UNKNOWN", fault.message or "The request was made to fail.")

    def _send(self, answer: Answer) -> None:
        self._record(answer.status)
        body = answer.body
        size = len(body) if isinstance(body, bytes) else answer.size or 0
        self.send_response(answer.status)
        headers = {"Docker-Distribution-Api-Version": "registry/2.0", **answer.headers, "Content-Length": str(size)}
        headers |= FOR_BROWSERS
        if self.close_connection:
            headers["Connection"] = "close"
        if answer.status == 204:
            del headers["Content-Length"]
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(body, answer.start, size)

    def _send_body(self, body: bytes | Path, start: int, size: int) -> None:
        if isinstance(body, bytes):
            self.wfile.write(body)
            return
        with body.open("rb") as file:
            file.seek(start)
            while size and (piece := file.read(min(PIECE, size))):
                self.wfile.write(piece)
                size -= len(piece)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class has it so)
        """Say nothing: the request log has it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, port: int, guest_host: str, api: RegistryApi, faults: Faults, record: Record, is_for_guests: bool
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        own_port = self.server_address[1]
        self.port = int(own_port)
        self.gate = loopback_gate(own_port, *([f"{guest_host}:{own_port}"] if is_for_guests else []))
        self.api, self.faults, self.record, self.is_for_guests = api, faults, record, is_for_guests
        self.turnstile = Turnstile()
        self._authority: Authority | None = None
        self._making = threading.Lock()
        self.connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, name="registry", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def authority(self) -> "Authority":
        with self._making:
            if self._authority is None:
                from cos_customizer.emulator.registry.certificates import Authority  # only where a guest uses docker

                self._authority = Authority()
            return self._authority

    def stop(self) -> None:
        if self._thread.is_alive():
            end_serving(self)
        self.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):  # closed meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        LOG.debug("registry request failed", exc_info=True)


class Registry:
    """The registry.

    Args:
        api: answers requests.
        port: of this machine's programs; 0 takes a free one.
        faults: applied to requests (kinds `http`, `drop` and `delay`).
        record: called after each request.
        guest_host: the address under which guests reach this machine's loopback.

    Attributes:
        port: of this machine's programs.
        guest_port: of guests.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, api: RegistryApi, port: int, faults: Faults, record: Record, guest_host: str) -> None:
        self._server = _Server(port, guest_host, api, faults, record, is_for_guests=False)
        self._guests = _Server(0, guest_host, api, faults, record, is_for_guests=True)
        self.port, self.guest_port = self._server.port, self._guests.port

    @property
    def served(self) -> tuple[ThreadingHTTPServer, type[BaseHTTPRequestHandler]]:
        """Its HTTP server for programs of this machine, with the class of its handlers."""
        return self._server, _Handler

    def pass_by(self, turnstile: Turnstile) -> None:
        """Let requests pass where those of the other services do."""
        self._server.turnstile = self._guests.turnstile = turnstile

    def use(self, api: RegistryApi) -> None:
        """Let another one answer requests from now on."""
        self._server.api = self._guests.api = api

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()
        self._guests.start()

    def stop(self) -> None:
        """Stop answering; what is stored stays."""
        self._server.stop()
        self._guests.stop()


def _refusal(error: ApiError) -> Answer:
    """Return a refusal as all services give it, and as clients of registries look for it."""
    reason = _REASONS.get(error.code, "BLOB_UPLOAD_INVALID")
    return _json(error.code, error.body() | RegistryError(error.code, reason, error.message).body())


def _json(status: int, content: object) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(content).encode())
