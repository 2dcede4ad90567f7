"""Cloud Storage: gcp-storage-emulator, in this process, on a loopback port of its own.

Known to differ from the real service: uploads ignore preconditions (`ifGenerationMatch`), an object is held in memory
while it is read or completed, and an error's answer may have no body.
"""

import hashlib
import json
import logging
import os
import re
import threading
import time
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from gcp_storage_emulator.exceptions import BadRequest, NotFound
from gcp_storage_emulator.handlers import buckets
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import RESUMABLE_DIR
from gcp_storage_emulator.storage import Storage as BaseStorage

from cos_customizer.emulator import LOG
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.files import replacing
from cos_customizer.emulator.http_server import Record, end_serving
from cos_customizer.emulator.storage import driver_bucket
from cos_customizer.emulator.storage.driver_bucket import Resource, public_bucket, public_object
from cos_customizer.emulator.storage.object_requests import check_preconditions, list_page

for _name in ("gcp_storage_emulator", "api"):  # it logs each request, and warns of its own inner workings
    _logger = logging.getLogger(_name)
    _logger.addHandler(logging.NullHandler())
    _logger.propagate = False


class _Storage(BaseStorage):  # type: ignore[misc]  # it has no type hints
    """The storage of gcp-storage-emulator, made safe against being killed, and quick with large uploads."""

    buckets: dict[str, Resource]
    objects: dict[str, dict[str, Resource]]

    def __init__(self, directory: Path) -> None:
        super().__init__(data_dir=str(directory))
        self._store.write_bytes = self._write_atomically
        self._given: dict[str, dict[str, bytes]] = {}

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

    def is_given(self, path: str) -> bool:
        """Return whether a request's path names an object or bucket, to be changed, that nobody may change."""
        changed = re.split(r"/(?:copyTo|rewriteTo)(?=/b/)", path)[-1]
        found = re.match(r"(?:/upload)?(?:/storage/v1)?(?:/b)?/([^/?]+)", changed)
        return found is not None and found[1] in self._given

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
        path: Path = self._store._disk_path(self._object_path(RESUMABLE_DIR, self.safe_id(file_id)))  # noqa: SLF001
        return path


class _Handler(RequestHandler):  # type: ignore[misc]  # it has no type hints
    timeout = 60  # a silent client holds up the others no longer than this
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "_Server"

    def _serve(self) -> None:
        self._began, self._recorded = time.monotonic(), False
        try:
            if not self._faulty():
                # One at a time: gcp-storage-emulator is not made for threads.
                with self.server.one_at_a_time:
                    if not self._answered():
                        getattr(super(), f"do_{self.command}")()
        finally:
            if not self._recorded:
                self._record(0)

    def _record(self, status: int) -> None:
        self._recorded = True
        self.server.record("storage", self.command, self.path, status, time.monotonic() - self._began)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _serve  # noqa: N815

    def _answered(self) -> bool:
        """Answer the requests that gcp-storage-emulator would answer wrongly; returns whether this was one."""
        try:
            if self.command != "GET" and self.storage.is_given(self.path):
                self.close_connection = True
                message = "Anonymous caller does not have write access to the Google Cloud Storage bucket."
                raise ApiError(403, "forbidden", message)
            check_preconditions(self.storage.objects, self.path)
            page = list_page(self.storage, self.path) if self.command == "GET" else None
        except ApiError as error:
            self._answer(error.code, error.body())
            return True
        if page is not None:
            self._answer(200, page)
        return page is not None

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _faulty(self) -> bool:
        faults = self.server.faults
        delay = faults.take("delay", method=self.command, path=self.path)
        if delay:
            time.sleep(delay.seconds)
        fault = faults.take("http", "drop", method=self.command, path=self.path)
        if fault is None:
            return False
        self.close_connection = True
        if fault.kind == "http":
            message = fault.message or f"The request was made to fail with {fault.status}"
            self._answer(fault.status, ApiError(fault.status, fault.reason or "backendError", message).body())
        return True

    def log_request(self, code: Any = "-", size: Any = "-") -> None:  # noqa: ARG002
        """Record an answer before anything of it is sent: a client that has it finds it in the log."""
        self._record(int(code))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class has it so)
        """Say nothing: the request log has it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, storage: _Storage, faults: Faults, record: Record) -> None:
        super().__init__(("127.0.0.1", port), partial(_Handler, storage))
        self.faults = faults
        self.record = record
        self.one_at_a_time = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Stay quiet about clients that went away."""
        LOG.debug("storage request failed", exc_info=True)


class CloudStorage:
    """The Cloud Storage service.

    Args:
        directory: where objects are kept.
        port: TCP port on loopback; 0 takes a free one, `port` then says which.
        faults: applied to requests (kinds `http`, `drop` and `delay`).
        record: called after each request.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, directory: Path, port: int, faults: Faults, record: Record) -> None:
        self._storage = _Storage(Path(os.path.abspath(directory)))  # noqa: PTH100 (it need not exist yet)
        self._server = _Server(port, self._storage, faults, record)
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
        with self._server.one_at_a_time:
            if self._storage.get_bucket(name) is None:
                bucket = buckets.create_bucket(name, self._storage)
                bucket["softDeletePolicy"] = {"retentionDurationSeconds": "0"}
                self._storage.create_bucket(name, bucket)
