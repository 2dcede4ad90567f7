"""One port for all services: which of them a request is for is told by its path.

Cloud Logging and the registry both have paths below `/v2/`: the registry's name a manifest, a blob or the like.
Whatever is no path of another service is one of Cloud Storage's XML API, `/BUCKET/OBJECT`.
"""

import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer, StreamRequestHandler
from typing import Any, BinaryIO, ClassVar, cast
from urllib.parse import urlsplit

from cos_customizer.emulator.http_server import ComputeHandler, HttpServer

_COMPUTE = re.compile(
    r"/(?:compute/.*|batch(?:/compute/.*)?|emulator/.*|ui(?:/.*)?|healthz|v(?:1|1beta1|2)/.*|projects/.*)?", re.DOTALL
)
_REGISTRY = re.compile(r"/v2/?|/v2/_catalog|/v2/.+/(?:manifests|blobs|tags|referrers)/.*", re.DOTALL)
_LONGEST_LINE = 65537

Maker = type[BaseHTTPRequestHandler]
Service = tuple[BaseServer, Maker]
"""A server and the class of its handlers."""


class _Replayed:
    """A stream whose first line was read already."""

    def __init__(self, line: bytes, stream: BinaryIO) -> None:
        self._line = line
        self._stream = stream
        self.read, self.read1 = stream.read, getattr(stream, "read1", stream.read)
        self.close: Callable[[], None] = lambda: None  # the connection's own handler does that

    def readline(self, size: int = -1) -> bytes:
        line, self._line = self._line, b""
        return line or self._stream.readline(size)


class FrontHandler(StreamRequestHandler):
    """Hands each request of a connection to the service that it is for."""

    timeout: ClassVar[float] = 300
    disable_nagle_algorithm = True
    wbufsize = -1
    server: HttpServer

    def handle(self) -> None:
        """Answer requests until the connection ends."""
        while self._answer_one():
            pass

    def _answer_one(self) -> bool:
        try:
            line = self.rfile.readline(_LONGEST_LINE)
        except TimeoutError:
            return False
        if not line:
            return False
        server, kind = self._service(line)
        handler = kind.__new__(kind)
        handler.server, handler.request, handler.client_address = server, self.request, self.client_address
        handler.connection, handler.wfile = self.connection, self.wfile
        handler.rfile = cast(Any, _Replayed(line, cast(BinaryIO, self.rfile)))
        handler.close_connection = True
        handler.front_gate = self.server.gate  # type: ignore[attr-defined]  # of all services' handlers
        self.connection.settimeout(kind.timeout)
        self.server.busy.add(self.connection)
        try:
            handler.handle_one_request()
        finally:
            self.server.busy.discard(self.connection)
        self.connection.settimeout(self.timeout)
        return not handler.close_connection

    def _service(self, line: bytes) -> Service:
        target = [*line.split(), b"", b""][1].decode("latin-1")
        own: Service = (self.server, ComputeHandler)
        if not target.startswith("/"):
            return own
        path = urlsplit("/" + target.lstrip("/")).path
        if _REGISTRY.fullmatch(path):
            return self.server.services.get("registry", own)
        return own if _COMPUTE.fullmatch(path) else self.server.services.get("storage", own)
