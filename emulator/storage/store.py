"""What Cloud Storage keeps: buckets, objects and unfinished uploads in a database, each content in a file."""

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.storage.requests import Resource

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bucket (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS object (
  bucket TEXT, name TEXT, body TEXT NOT NULL, content TEXT NOT NULL, PRIMARY KEY (bucket, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS upload (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"""
_PAGE = 500
_UPLOAD_SECONDS = 7 * 24 * 3600.0
"""How long an unfinished upload is kept (https://cloud.google.com/storage/docs/resumable-uploads#session-uris)."""


@dataclass(frozen=True)
class Stored:
    """An object.

    Attributes:
        resource: its fields, without those that follow from others (links, `id`, `etag`). Not to be changed.
        content: its bytes, or the file that has them.
    """

    resource: Resource
    content: Path | bytes

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return int(self.resource["size"])

    @property
    def generation(self) -> str:
        """Its generation."""
        return str(self.resource["generation"])

    def open(self) -> BinaryIO:
        """Open its content. Do so while the store is locked: a deleted object has no file."""
        return BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")


class Store:
    """Buckets, objects and uploads. Each method may be called from any thread; `lock` makes several of them one.

    Each change is in the database when the call returns, and a content's file is there as a whole before an object
    names it. So a killed process leaves no more than files that nothing names; they are removed at the next start.

    Args:
        directory: where everything lies.

    Attributes:
        lock: to be held by whoever looks first and changes then.
    """

    def __init__(self, directory: Path) -> None:
        self.lock = threading.RLock()
        self._contents, self._drafts = directory / "contents", directory / "drafts"
        for each in (directory, self._contents, self._drafts):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / "storage.sqlite"
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # A killed process loses nothing in this mode; only a crash of the whole machine could.
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.executescript(_SCHEMA)
        self._given: dict[str, tuple[Resource, dict[str, Stored]]] = {}
        self._generation = 0
        self._collect()

    def _collect(self) -> None:
        for upload_id, upload in self.uploads():
            if upload["started"] < time.time() - _UPLOAD_SECONDS:
                self.delete_upload(upload_id)
        kept = {self._contents / row[0] for row in self._database.execute("SELECT content FROM object")}
        uploads = {upload_id for upload_id, _ in self.uploads()}
        for path in (*self._contents.iterdir(), *self._drafts.iterdir()):
            if path not in kept and not (path.parent == self._drafts and path.name.partition(".")[0] in uploads):
                path.unlink()

    def give(self, bucket: Resource, objects: Mapping[str, tuple[Resource, bytes]]) -> None:
        """Add a bucket that is always there, is not stored, and cannot be changed."""
        stored = {name: Stored(*objects[name]) for name in sorted(objects)}
        self._given[bucket["name"]] = (bucket, stored)

    def is_given(self, bucket: str) -> bool:
        """Return whether a bucket is one that is always there."""
        return bucket in self._given

    def check_changeable(self, bucket: str) -> None:
        """Refuse a change of a bucket, or of an object in it, that nobody may change.

        Raises:
            ApiError: 403.
        """
        if bucket in self._given:
            message = "Anonymous caller does not have write access to the Google Cloud Storage bucket."
            raise ApiError(403, "forbidden", message)

    def next_generation(self) -> int:
        """Return a number that is larger than all before: microseconds since the epoch."""
        with self.lock:
            self._generation = max(self._generation + 1, time.time_ns() // 1000)
            return self._generation

    # Buckets

    def find_bucket(self, name: str) -> Resource | None:
        """Return a bucket, or None."""
        if name in self._given:
            return self._given[name][0]
        with self.lock:
            row = self._database.execute("SELECT body FROM bucket WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def bucket(self, name: str) -> Resource:
        """Return a bucket.

        Raises:
            ApiError: 404.
        """
        if (found := self.find_bucket(name)) is None:
            raise ApiError(404, "notFound", "The specified bucket does not exist.")
        return found

    def buckets(self) -> list[Resource]:
        """Return the buckets that are stored, by name."""
        with self.lock:
            return [json.loads(row[0]) for row in self._database.execute("SELECT body FROM bucket ORDER BY name")]

    def put_bucket(self, bucket: Resource) -> None:
        """Add or replace a bucket."""
        with self.lock:
            row = (bucket["name"], json.dumps(bucket))
            self._database.execute("INSERT OR REPLACE INTO bucket VALUES (?, ?)", row)

    def delete_bucket(self, name: str) -> None:
        """Remove a bucket, which is empty, with the uploads to it that go on.

        Raises:
            ApiError: 409, there are objects in it.
        """
        with self.lock:
            if next(self.objects(name), None) is not None:
                raise ApiError(409, "conflict", "The bucket you tried to delete is not empty.")
            for upload_id, upload in self.uploads():
                if upload["bucket"] == name:
                    self.delete_upload(upload_id)
            self._database.execute("DELETE FROM bucket WHERE name = ?", (name,))

    # Objects

    def find(self, bucket: str, name: str) -> Stored | None:
        """Return an object, or None."""
        if bucket in self._given:
            return self._given[bucket][1].get(name)
        with self.lock:
            query = "SELECT body, content FROM object WHERE bucket = ? AND name = ?"
            row = self._database.execute(query, (bucket, name)).fetchone()
        return Stored(json.loads(row[0]), self._contents / row[1]) if row else None

    def objects(self, bucket: str, start: str = "", after: bool = False) -> Iterator[tuple[str, Stored]]:
        """Return objects in the order of their names.

        Args:
            bucket: whose.
            start: the first name, or what stands for it.
            after: leave out the object of this name.
        """
        if bucket in self._given:
            for name, stored in self._given[bucket][1].items():
                if name > start or (name == start and not after):
                    yield name, stored
            return
        while True:
            query = f"""SELECT name, body, content FROM object
                WHERE bucket = ? AND name {">" if after else ">="} ? ORDER BY name LIMIT {_PAGE}"""  # noqa: S608
            with self.lock:
                rows = self._database.execute(query, (bucket, start)).fetchall()
            for name, body, content in rows:
                yield name, Stored(json.loads(body), self._contents / content)
            if len(rows) < _PAGE:
                return
            start, after = rows[-1][0], True

    def put(self, bucket: str, name: str, resource: Resource, file: Path | None = None) -> Stored:
        """Add or replace an object.

        Args:
            bucket: where.
            name: its name.
            resource: its fields.
            file: in the directory of drafts, with its content, which is taken from there; None to keep what it has.
        """
        with self.lock:
            before = self.find(bucket, name)
            if file is not None:
                content = self._contents / secrets.token_hex(16)
                file.replace(content)
            else:
                assert before is not None
                assert isinstance(before.content, Path)
                content = before.content
            row = (bucket, name, json.dumps(resource), content.name)
            self._database.execute("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?)", row)
            if file is not None and before is not None:
                self._remove(before)
        return Stored(resource, content)

    def delete(self, bucket: str, name: str) -> None:
        """Remove an object, if it is there."""
        with self.lock:
            before = self.find(bucket, name)
            self._database.execute("DELETE FROM object WHERE bucket = ? AND name = ?", (bucket, name))
            if before is not None:
                self._remove(before)

    def _remove(self, stored: Stored) -> None:
        if isinstance(stored.content, Path):
            stored.content.unlink(missing_ok=True)

    def copy_of(self, stored: Stored) -> Path:
        """Return a draft with an object's content: another name of the same file, which never changes."""
        draft = self.draft_path(secrets.token_hex(16))
        if isinstance(stored.content, bytes):
            draft.write_bytes(stored.content)
        else:
            os.link(stored.content, draft)
        return draft

    # Uploads

    def draft_path(self, name: str) -> Path:
        """Return where the content of an upload is written; after its id, a name may have a dot and more."""
        return self._drafts / name

    def uploads(self) -> list[tuple[str, Resource]]:
        """Return the uploads that are not finished, or were not long ago, by their ids."""
        with self.lock:
            return [(row[0], json.loads(row[1])) for row in self._database.execute("SELECT * FROM upload ORDER BY id")]

    def find_upload(self, upload_id: str) -> Resource | None:
        """Return an upload, or None."""
        with self.lock:
            row = self._database.execute("SELECT body FROM upload WHERE id = ?", (upload_id,)).fetchone()
        return json.loads(row[0]) if row else None

    def put_upload(self, upload_id: str, upload: Resource) -> None:
        """Add or replace an upload; `bucket` and `started` (seconds since the epoch) are among its fields."""
        with self.lock:
            self._database.execute("INSERT OR REPLACE INTO upload VALUES (?, ?)", (upload_id, json.dumps(upload)))

    def delete_upload(self, upload_id: str) -> None:
        """Forget an upload and its drafts."""
        with self.lock:
            self._database.execute("DELETE FROM upload WHERE id = ?", (upload_id,))
            for path in (self._drafts / upload_id, *self._drafts.glob(f"{upload_id}.*")):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the database; what is stored stays."""
        with self.lock:
            self._database.close()
