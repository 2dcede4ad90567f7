"""Cloud Storage: gcp-storage-emulator, in this process, on a loopback port of its own.

Known to differ from the real service: uploads ignore preconditions (`ifGenerationMatch`), an object is held in memory
while it is read or completed, and an error's answer may have no body.
"""

import hashlib
import io
import logging
import os
import re
import socket
import threading
import time
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from gcp_storage_emulator import server as library_server
from gcp_storage_emulator import storage as library_storage
from gcp_storage_emulator.exceptions import BadRequest, NotFound
from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.server import RequestHandler, Router
from gcp_storage_emulator.storage import RESUMABLE_DIR
from gcp_storage_emulator.storage import Storage as BaseStorage

from cos_customizer.emulator import LOG
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.faults import Fault, Faults
from cos_customizer.emulator.files import replacing
from cos_customizer.emulator.gate import loopback_gate
from cos_customizer.emulator.http_server import GatedHandler, Record, end_serving
from cos_customizer.emulator.request_body import decoded
from cos_customizer.emulator.storage import driver_bucket
from cos_customizer.emulator.storage.driver_bucket import Resource, public_bucket, public_object
from cos_customizer.emulator.storage.names import check_new_bucket, check_target
from cos_customizer.emulator.storage.object_requests import check_preconditions, glob_matches, list_page

for _name in ("gcp_storage_emulator", "api"):  # it logs each request, and warns of its own inner workings
    _logger = logging.getLogger(_name)
    _logger.addHandler(logging.NullHandler())
    _logger.propagate = False

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# The library's own doors, such as `GET /wipe`, are shut: what is left are the methods of Cloud Storage.
_ROUTES = tuple(
    (pattern, methods)
    for pattern, methods in library_server.HANDLERS
    if all(each.__module__ in (buckets.__name__, objects.__name__) for each in methods.values())
)
library_server.HANDLERS = _ROUTES
library_storage.gcs_glob_match = glob_matches


class _Storage(BaseStorage):  # type: ignore[misc]  # it has no type hints
    """The storage of gcp-storage-emulator, made safe against being killed, and quick with large uploads."""

    buckets: dict[str, Resource]
    objects: dict[str, dict[str, Resource]]

    def __init__(self, directory: Path) -> None:
        super().__init__(data_dir=str(directory))
        self._store.write_bytes = self._write_atomically
        self._given: dict[str, dict[str, bytes]] = {}
        self._collect()

    def _collect(self) -> None:
        """Remove the files that nothing here has: what an emulator has left that was killed while it wrote."""
        root: Path = self._store._disk_path("")  # noqa: SLF001
        kept = {root / ".meta"}
        kept |= {self._path(bucket, name) for bucket, named in self.objects.items() for name in named}
        kept |= {self._part(upload) for upload in self.resumable}
        kept |= {
            self._store._disk_path(self._soft_delete_content_path(bucket, name, generation))  # noqa: SLF001
            for bucket, named in self.soft_deleted.items()
            for name, generations in named.items()
            for generation in generations
        }
        for path in root.rglob("*"):
            if path.is_file() and path not in kept:
                path.unlink()

    def _path(self, bucket: str, name: str) -> Path:
        path: Path = self._store._disk_path(self._object_path(bucket, name))  # noqa: SLF001
        return path

    def give(self, bucket: str, contents: dict[str, bytes], endpoint: str) -> None:
        """Add a bucket that is always there and is not stored.

        Args:
            bucket: its name.
            contents: its objects.
            endpoint: where this service is, for links.
        """
        self._given[bucket] = contents
        self.buckets[bucket] = public_bucket(bucket)
        self.objects[bucket] = {
            name: public_object(endpoint, bucket, name, content) for name, content in contents.items()
        }

    def get_file(self, bucket_name: str, file_name: str, show_error: bool = True) -> bytes:
        if bucket_name not in self._given:
            return cast(bytes, super().get_file(bucket_name, file_name, show_error))
        if file_name not in self._given[bucket_name]:
            raise NotFound
        return self._given[bucket_name][file_name]

    def get_file_obj(self, bucket_name: str, file_name: str) -> Resource:
        found: Resource = super().get_file_obj(bucket_name, file_name)
        return dict(found) if bucket_name in self._given else found  # who asks may change it

    def create_file(self, bucket_name: str, *rest: Any) -> None:
        self._check_changeable(bucket_name)
        super().create_file(bucket_name, *rest)

    def create_resumable_upload(self, bucket_name: str, *rest: Any) -> str:
        self._check_changeable(bucket_name)
        return cast(str, super().create_resumable_upload(bucket_name, *rest))

    def patch_object(self, bucket_name: str, *rest: Any) -> None:
        self._check_changeable(bucket_name)
        super().patch_object(bucket_name, *rest)

    def delete_file(self, bucket_name: str, file_name: str) -> None:
        self._check_changeable(bucket_name)
        super().delete_file(bucket_name, file_name)

    def delete_bucket(self, bucket_name: str) -> None:
        self._check_changeable(bucket_name)
        super().delete_bucket(bucket_name)

    def _check_changeable(self, bucket: str) -> None:
        if bucket in self._given:
            message = "Anonymous caller does not have write access to the Google Cloud Storage bucket."
            raise ApiError(403, "forbidden", message)

    def check_changeable(self, path: str) -> None:
        """Refuse a request for a change of a bucket, or of an object in it, that nobody may change.

        Args:
            path: the request's path and query.

        Raises:
            ApiError: 403.
        """
        changed = re.split(r"/(?:copyTo|rewriteTo)(?=/b/)", path)[-1]
        if found := re.match(r"(?:/upload)?(?:/storage/v1)?(?:/b)?/([^/?]+)", changed):
            self._check_changeable(found[1])

    def _write_config_to_file(self) -> None:
        buckets, objects = self.buckets, self.objects
        self.buckets, self.objects = self._stored(buckets), self._stored(objects)
        try:
            super()._write_config_to_file()
        finally:
            self.buckets, self.objects = buckets, objects

    def _stored(self, by_bucket: dict[str, Any]) -> dict[str, Any]:
        return {bucket: value for bucket, value in by_bucket.items() if bucket not in self._given}

    def _write_atomically(self, relative: str, content: bytes) -> None:
        path = self._store._disk_path(relative)  # noqa: SLF001 (no public way to a file's place)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_bytes(content)

    def _object_path(self, bucket_name: str, file_name: str) -> str:
        # Not by its name: an object `a` may stand beside `a/b`, and a name may be longer than a file's.
        name = file_name if bucket_name == RESUMABLE_DIR else hashlib.sha256(file_name.encode()).hexdigest()
        return f"{bucket_name}/{name}"

    def get_resumable_byte_count(self, file_id: str) -> int:
        part = self._part(file_id)
        return part.stat().st_size if part.exists() else 0

    def add_to_resumable_upload(
        self, file_id: str, content: bytes, total_size: int | None = None, expected_start: int | None = None
    ) -> bytes | None:
        """Append a chunk (the original reads and writes the whole object again for each)."""
        size = self.get_resumable_byte_count(file_id)
        if expected_start is not None and expected_start != size:
            raise BadRequest(f"Invalid Content-Range start: expected {size}, got {expected_start}")
        part = self._part(file_id)
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            file.write(content or b"")
            size = file.tell()
        if total_size is None or size < total_size:
            return None
        return part.read_bytes()[:total_size]

    def _part(self, file_id: str) -> Path:
        return self._path(RESUMABLE_DIR, self.safe_id(file_id))


class _Handler(GatedHandler, RequestHandler):  # type: ignore[misc]  # it has no type hints
    server: "_Server"
    storage: _Storage

    def service(self) -> str:
        return "storage"

    def answer_request(self, body: bytes) -> None:
        fault = self._fault()
        if fault is None:
            self._carry_out(body)
        elif fault.kind == "http":
            self.close_connection = True
            message = fault.message or f"The request was made to fail with {fault.status}"
            self.answer_json(fault.status, ApiError(fault.status, fault.reason or "backendError", message).body())
        else:
            self._cut_or_hold(fault, body)

    def _cut_or_hold(self, fault: Fault, body: bytes) -> None:
        connection, self.wfile = self.wfile, io.BytesIO()
        try:
            if fault.when == "after":
                self._carry_out(body)
            if fault.kind == "hold":
                self.server.faults.hold(fault)
                if fault.when == "before":
                    self._carry_out(body)
                connection.write(self.wfile.getvalue())
        finally:
            self.wfile = connection
        self.close_connection = self.close_connection or fault.kind == "drop"

    def _carry_out(self, body: bytes) -> None:
        try:
            body = decoded(body, self.headers.get("Content-Encoding", ""), self.server.longest_body)
            self._override_method()
            check_target(self.path)
            # One at a time: gcp-storage-emulator is not made for threads.
            with self.server.one_at_a_time:
                self._answer(body)
        except ApiError as error:
            self.answer_json(error.code, error.body())

    def _override_method(self) -> None:
        """Let a POST stand for another method, as Google's clients do where a proxy lets nothing else pass."""
        if override := self.headers.get("X-HTTP-Method-Override"):
            del self.headers["X-HTTP-Method-Override"]
            if self.command != "POST" or override not in _METHODS:
                raise ApiError(400, "invalid", f"A {self.command} cannot stand for {override}.")
            self.command = override

    def _answer(self, body: bytes) -> None:
        if self.command != "GET":
            self.storage.check_changeable(self.path)
        if self.command == "POST":
            check_new_bucket(self.path, body)
        check_preconditions(self.storage.objects, self.path)
        page = list_page(self.storage, self.path) if self.command == "GET" else None
        if page is not None:
            self.answer_json(200, page)
            return
        self._let_library_answer(body)

    def _let_library_answer(self, body: bytes) -> None:
        if not any(re.fullmatch(pattern, urlsplit(self.path).path) for pattern, _ in _ROUTES):
            raise ApiError(404, "notFound", f"The local Cloud Storage has no {self.command} {self.path[:200]}")
        for name in ("Transfer-Encoding", "Content-Length", "Content-Encoding"):
            del self.headers[name]
        self.headers["Content-Length"] = str(len(body))
        connection, self.rfile = self.rfile, io.BytesIO(body)
        try:
            Router(self).handle(self.command)
        except ApiError:
            raise
        except OSError:  # no room on the disk, or the client is gone
            raise
        except Exception as error:
            # It looks at nothing before it uses it, and has sent nothing yet.
            LOG.debug("storage request failed: %s %s", self.command, self.path, exc_info=True)
            message = f"Cloud Storage cannot make sense of this {self.command}: {type(error).__name__}: {error}"
            raise ApiError(400, "invalid", message[:1000]) from None
        finally:
            self.rfile = connection

    def _fault(self) -> Fault | None:
        faults = self.server.faults
        delay = faults.take("delay", method=self.command, path=self.path)
        if delay:
            time.sleep(delay.seconds)
        return faults.take("http", "drop", "hold", method=self.command, path=self.path)

    def send_header(self, keyword: str, value: str) -> None:
        """Send a header; an object's metadata, which is among them, may hold anything."""
        super().send_header(
            *("".join(filter(str.isprintable, text)).encode().decode("latin-1") for text in (keyword, str(value)))
        )

    def log_request(self, code: Any = "-", size: Any = "-") -> None:  # noqa: ARG002
        """Record the answer, which is about to be sent."""
        self.record(int(code))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class has it so)
        """Say nothing: the request log has it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, port: int, storage: _Storage, faults: Faults, record: Record, guest_host: str, longest_body: int
    ) -> None:
        super().__init__(("127.0.0.1", port), partial(_Handler, storage))
        own_port = self.server_address[1]
        self.gate = loopback_gate(own_port, f"{guest_host}:{own_port}")
        self.longest_body = longest_body
        self.faults = faults
        self.record = record
        self.busy: set[socket.socket] = set()
        self.one_at_a_time = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Stay quiet about clients that went away."""
        LOG.debug("storage request failed", exc_info=True)


class CloudStorage:
    """The Cloud Storage service.

    Args:
        directory: where objects are kept.
        port: TCP port on loopback; 0 takes a free one, `port` then says which.
        faults: applied to requests (kinds `http`, `drop`, `delay` and `hold`).
        record: called after each request.
        guest_host: the address under which guests reach this machine's loopback.
        longest_body: bytes that a request's body may have.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self, directory: Path, port: int, faults: Faults, record: Record, guest_host: str, longest_body: int
    ) -> None:
        self._storage = _Storage(Path(os.path.abspath(directory)))  # noqa: PTH100 (it need not exist yet)
        self._server = _Server(port, self._storage, faults, record, guest_host, longest_body)
        self.port: int = self._server.server_address[1]
        self._storage.give(driver_bucket.NAME, driver_bucket.contents(), f"http://127.0.0.1:{self.port}")
        self._thread = threading.Thread(target=self._server.serve_forever, name="storage", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering; what is stored stays."""
        if self._thread.is_alive():
            end_serving(self._server)
        self._server.server_close()

    def ensure_bucket(self, name: str) -> None:
        """Make a bucket unless it exists. Its deleted objects are gone at once."""
        if self._storage.get_bucket(name) is not None:  # as nearly always, and nobody is to be waited for then
            return
        with self._server.one_at_a_time:
            if self._storage.get_bucket(name) is None:
                bucket = buckets.create_bucket(name, self._storage)
                bucket["softDeletePolicy"] = {"retentionDurationSeconds": "0"}
                self._storage.create_bucket(name, bucket)
