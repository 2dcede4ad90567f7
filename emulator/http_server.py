"""Serving HTTP: what all services have in common, and a threaded server for a WSGI application.

The server keeps connections open. Werkzeug's own closes them after each answer; pollers of a hundred serial consoles
want them kept.
"""

import contextlib
import io
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, ClassVar, Protocol, cast

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Response

from cos_customizer.emulator import LOG
from cos_customizer.emulator.errors import ApiError, EmulatorError
from cos_customizer.emulator.gate import Gate, loopback_gate
from cos_customizer.emulator.request_body import BODY_SECONDS, PIECE, RequestBody, read_all
from cos_customizer.emulator.turnstile import Turnstile

DROP_CONNECTION = "X-Emulator-Drop"
"""An application's answer with this header is not sent: the connection is cut instead."""

LONGEST_BODY = 16 << 20
"""Bytes of a request's body: more than any of Compute Engine's, Cloud Logging's or Secret Manager's may have."""
_FINISH_SECONDS = 2.0
_LONGEST_LINE = 16 << 10
"""Bytes of a request line, as Google's front end takes them."""
FOR_BROWSERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of each answer: a browser that shows it all the same runs nothing in it."""

_SERVICES = {"/v1/": "secretmanager", "/v1beta1/": "serviceusage", "/v2/": "logging"}
"""Whose paths begin how; Compute Engine's begin in many ways."""

Record = Callable[[str, str, str, int, float], None]
"""Called after each request: service, method, path, status (0 for a cut connection), seconds."""


class GatedServer(Protocol):
    """What a `GatedHandler` needs of its server.

    Attributes:
        gate: decides on requests.
        longest_body: bytes that a request's body may have.
        record: called after each request.
        busy: connections with a request that is being answered.
        turnstile: lets requests pass.
    """

    gate: Gate
    longest_body: int
    record: Record
    busy: set[socket.socket]
    turnstile: Turnstile


class GatedHandler(BaseHTTPRequestHandler):
    """Reads requests, and refuses those that the gate does not let pass or that are too large; each service's base.

    Nobody else waits while a body is read, so that a client that is slow holds up nobody.
    """

    body_seconds: ClassVar[float] = BODY_SECONDS
    timeout: ClassVar[float] = 60  # how long a client may be silent
    disable_nagle_algorithm = True
    wbufsize = -1
    front_gate: Gate | None = None
    """Of the port that a connection came in by, if that is another than its server's."""
    server: "GatedServer"  # type: ignore[assignment]  # each service has a server of its own kind

    def answer_request(self, body: RequestBody) -> None:
        """Answer the request whose head was read. All of its body has to be read.

        Args:
            body: its body, not decoded, to be read.

        Raises:
            ApiError: the body cannot be read; nothing was answered yet.
        """
        raise NotImplementedError

    def service(self) -> str:
        """The name of the service that the request is for, in the log of requests."""
        raise NotImplementedError

    def longest_body(self) -> int:
        """Bytes that the body of the request may have."""
        return self.server.longest_body

    def handle_one_request(self) -> None:
        """Read one request and answer it; a client that falls silent is cut off."""
        try:
            self._one_request()
        except TimeoutError:
            self.close_connection = True

    def _one_request(self) -> None:
        self._recorded = True  # there is nothing to record yet
        self._sent_headers: set[str] = set()
        self.raw_requestline = self.rfile.readline(_LONGEST_LINE + 1)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if len(self.raw_requestline) > _LONGEST_LINE:
            self.command = self.requestline = self.request_version = ""
            self.close_connection = True
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            return
        if not self.parse_request():  # which has answered then
            return
        self._began, self._recorded = time.monotonic(), False
        self.server.busy.add(self.connection)
        try:
            try:
                (self.front_gate or self.server.gate).check(self.command, self.path, self.headers)
                stream = cast(BinaryIO, self.rfile)
                body = RequestBody(stream, self.headers, self.longest_body(), self.body_seconds)
                with self.server.turnstile.passing():
                    if self._is_expecting:
                        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                        self.wfile.flush()
                    self.answer_request(body)
                if not body.is_read:
                    self.close_connection = True  # what is left of it is no request
            except ApiError as error:
                self.close_connection = True  # what the client still sends is no request
                self.answer_json(error.code, error.body())
            self.wfile.flush()
        finally:
            self.record(0)
            self.server.busy.discard(self.connection)

    def handle_expect_100(self) -> bool:
        """Leave the answer to later: the body of a request that is refused need not be sent."""
        return True

    @property
    def _is_expecting(self) -> bool:
        return self.headers.get("Expect", "").lower() == "100-continue"

    def answer_json(self, status: int, content: object) -> None:
        """Send a JSON answer."""
        self.record(status)
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def record(self, status: int) -> None:
        """Record the request that is being answered, unless it is recorded already.

        Do so before anything of the answer is sent: a client that has it finds it in the log.

        Args:
            status: of the answer; 0 for a connection that is cut.
        """
        if not self._recorded:
            self._recorded = True
            self.server.record(self.service(), self.command, self.path, status, time.monotonic() - self._began)

    def send_header(self, keyword: str, value: str) -> None:
        """Send a header; one that is for browsers takes the place of the usual one."""
        self._sent_headers.add(keyword)
        super().send_header(keyword, value)

    def end_headers(self) -> None:
        """Tell a browser that shows an answer all the same that nothing in it may run, unless the answer has said."""
        for name in FOR_BROWSERS.keys() - self._sent_headers:
            self.send_header(name, FOR_BROWSERS[name])
        super().end_headers()


class ComputeHandler(GatedHandler, WSGIRequestHandler):
    """Passes requests to the application of an `HttpServer`."""

    protocol_version = "HTTP/1.1"
    timeout = 300
    server: "HttpServer"

    def service(self) -> str:
        """The one whose paths begin so; Cloud KMS' begin as Secret Manager's do."""
        if self.path.startswith("/v1/") and "/keyRings" in self.path.partition("?")[0]:
            return "kms"
        return next((name for start, name in _SERVICES.items() if self.path.startswith(start)), "compute")

    def longest_body(self) -> int:
        """Those of the path, if it is of another kind."""
        transfer = self.server.transfers.get(self.path)
        return transfer.longest_body if transfer else self.server.longest_body

    def answer_request(self, body: RequestBody) -> None:
        """Let the application answer."""
        if transfer := self.server.transfers.get(self.path):
            self._transfer(transfer, body)
            return
        content = read_all(body, self.server.longest_body)
        environ = self.make_environ()
        for name in ("HTTP_TRANSFER_ENCODING", "wsgi.input_terminated"):
            environ.pop(name, None)
        environ.update({"wsgi.input": io.BytesIO(content), "CONTENT_LENGTH": str(len(content))})
        answer = Response.from_app(self.server.app, environ, buffered=True)
        answered = answer.get_data()
        if DROP_CONNECTION in answer.headers:
            self.record(0)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.record(answer.status_code)
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answered)

    def _transfer(self, transfer: "Transfer", body: RequestBody) -> None:
        try:
            if self.command == "PUT":
                transfer.put(body)
                _read_rest(body)
                self.answer_json(200, {})
            elif self.command == "GET":
                with transfer.get() as file:
                    self._send_file(file)
            else:
                raise ApiError(405, "invalid", f"{self.path} has GET and PUT.")
        except EmulatorError as error:
            _read_rest(body)
            raise ApiError(400, "failedPrecondition", f"{error} ({error.hint})" if error.hint else str(error)) from None
        except OSError as error:
            if isinstance(error, ConnectionError | TimeoutError):  # the client's
                raise
            raise ApiError(500, "internalError", f"The local cloud's files: {error}") from None

    def _send_file(self, file: BinaryIO) -> None:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.record(200)
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.flush()
        if size:
            self.connection.sendfile(file)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 (the base class has it so)
        """Log what the server says."""
        LOG.log(logging.ERROR if type == "error" else logging.DEBUG, message, *args)


@dataclass(frozen=True)
class Transfer:
    """A path whose content is too large for memory.

    Attributes:
        get: returns the content, which is closed then.
        put: takes a content.
        longest_body: bytes that it may have.
    """

    get: Callable[[], BinaryIO]
    put: Callable[[RequestBody], None]
    longest_body: int


class ConnectionServer(ThreadingHTTPServer):
    """Serves on a loopback port, a thread for each connection, from a thread of its own, until `stop`.

    Attributes:
        busy: connections with a request that is being answered.
        turnstile: lets requests pass; the servers of one emulator have one.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._connections: set[socket.socket] = set()
        self.busy: set[socket.socket] = set()
        self.turnstile = Turnstile()
        self._thread = threading.Thread(target=self.serve_forever, name=type(self).__name__, daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Finish running requests, then cut all connections: clients that keep theirs must notice."""
        if self._thread.is_alive():  # a server that has never started would be waited for in vain
            end_serving(self)
        self.server_close()
        deadline = time.monotonic() + _FINISH_SECONDS
        while self.busy and time.monotonic() < deadline:
            time.sleep(0.005)
        for connection in list(self._connections):
            _cut(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a new connection."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that is done with."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Stay quiet about clients that went away."""
        LOG.debug("a request failed", exc_info=True)


class HttpServer(ConnectionServer, ThreadedWSGIServer):
    """Serves an application on a loopback port.

    Args:
        app: the WSGI application.
        port: TCP port; 0 takes a free one, `port` then says which.
        record: called after each request.
        guest_names: its other addresses, as guests have them in `Host`.
        host: the address that it listens on.
        handler: of connections.

    Attributes:
        services: what else the handler may pass requests to: servers, with their handlers.
        transfers: paths that the application does not answer.

    Raises:
        OSError: the port is taken.
    """

    transfers: Mapping[str, Transfer] = {}
    services: Mapping[str, tuple[socketserver.BaseServer, type[BaseHTTPRequestHandler]]] = {}
    longest_body = LONGEST_BODY

    def __init__(
        self,
        app: Any,
        port: int,
        record: Record,
        guest_names: tuple[str, ...] = (),
        host: str = "127.0.0.1",
        handler: type[socketserver.StreamRequestHandler] = ComputeHandler,
    ) -> None:
        listener = socket.create_server((host, port), backlog=128)
        try:
            super().__init__(host, port, app, handler=cast(Any, handler), fd=listener.fileno())
        finally:
            listener.close()
        self.port = self.server_address[1]
        self.gate = loopback_gate(self.port, *guest_names)
        self.record = record


def end_serving(server: socketserver.BaseServer) -> None:
    """Make `serve_forever` in another thread return at once, not when it polls next."""
    ending = threading.Thread(target=server.shutdown)
    ending.start()
    while ending.is_alive():
        with contextlib.suppress(OSError):  # it listens no more
            socket.create_connection(server.server_address, timeout=1).close()  # type: ignore[arg-type]
        ending.join(0.005)


def _read_rest(body: RequestBody) -> None:
    """Read what is left: who sends does not read an answer yet."""
    while body.read(PIECE):
        pass


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed meanwhile
