"""A threaded HTTP/1.1 server for a WSGI application that keeps connections open.

Werkzeug's own server closes the connection after each answer; pollers of a hundred serial consoles want it kept.
"""

import contextlib
import io
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from typing import Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Response

from cos_customizer.emulator import LOG

DROP_CONNECTION = "X-Emulator-Drop"
"""An application's answer with this header is not sent: the connection is cut instead."""

_FINISH_SECONDS = 2.0

Record = Callable[[str, str, str, int, float], None]
"""Called after each request: service, method, path, status (0 for a cut connection), seconds."""


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 300
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "HttpServer"

    def run_wsgi(self) -> None:
        self.server.busy.add(self.connection)
        try:
            self._answer()
        finally:
            self.server.busy.discard(self.connection)

    def _answer(self) -> None:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        began = time.monotonic()
        environ = self.make_environ()
        if "wsgi.input_terminated" not in environ:
            # Read to the end in any case, or what is left would be taken for the next request.
            environ["wsgi.input"] = io.BytesIO(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        answer = Response.from_app(self.server.app, environ, buffered=True)
        content = answer.get_data()
        dropped = DROP_CONNECTION in answer.headers
        status = 0 if dropped else answer.status_code
        service = "logging" if self.path.startswith("/v2/") else "compute"
        self.server.record(service, self.command, self.path, status, time.monotonic() - began)
        if dropped:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 (the base class has it so)
        LOG.log(logging.ERROR if type == "error" else logging.DEBUG, message, *args)


class HttpServer(ThreadedWSGIServer):
    """Serves an application on a loopback port, from a thread of its own, until `stop`.

    Args:
        app: the WSGI application.
        port: TCP port; 0 takes a free one, `port` then says which.
        record: called after each request.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, app: Any, port: int, record: Record) -> None:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        try:
            super().__init__("127.0.0.1", port, app, handler=_Handler, fd=listener.fileno())
        finally:
            listener.close()
        self.port = self.server_address[1]
        self.record = record
        self._connections: set[socket.socket] = set()
        self.busy: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, name="compute-api", daemon=True)

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


def end_serving(server: socketserver.BaseServer) -> None:
    """Make `serve_forever` in another thread return at once, not when it polls next."""
    ending = threading.Thread(target=server.shutdown)
    ending.start()
    while ending.is_alive():
        with contextlib.suppress(OSError):  # it listens no more
            socket.create_connection(server.server_address, timeout=1).close()  # type: ignore[arg-type]
        ending.join(0.005)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed meanwhile
