"""The store of resources."""

import fcntl
import json
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cos_customizer.emulator.errors import EmulatorError, not_found
from cos_customizer.emulator.projects import project_number

Resource = dict[str, Any]
"""A resource in the API's JSON form. Never changed in place: `Store.update` puts a new one, so readers need no lock."""


class Store:
    """Resources by path, in memory and in an SQLite database (each change is on disk when the call returns).

    Args:
        directory: where the database lies. One emulator at a time may use it.

    Raises:
        EmulatorError: another emulator uses the directory.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_file = (directory / "lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            raise EmulatorError(
                f"another emulator uses the state directory {directory}", "stop it, or choose another directory"
            ) from None
        self.lock = threading.RLock()
        self._database = sqlite3.connect(directory / "compute.sqlite", check_same_thread=False, isolation_level=None)
        # A killed process loses nothing in this mode; only a crash of the whole machine could.
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE IF NOT EXISTS resource (path TEXT PRIMARY KEY, body TEXT NOT NULL)")
        self._kept: dict[str, Resource] = {
            path: json.loads(body) for path, body in self._database.execute("SELECT path, body FROM resource")
        }
        self._given: dict[str, Resource] = {}

    def give(self, resources: Mapping[str, Resource]) -> None:
        """Add resources that always exist (the catalogue). They are not stored and cannot be changed."""
        self._given.update(resources)

    def find(self, path: str) -> Resource | None:
        """Return a resource, or None."""
        return self._kept.get(path) or self._given.get(path)

    def get(self, path: str) -> Resource:
        """Return a resource.

        Raises:
            ApiError: 404.
        """
        resource = self.find(path)
        if resource is None:
            raise not_found(path)
        return resource

    def get_same(self, path: str, resource_id: str) -> Resource:
        """Return the resource that had a path before, as it is now.

        Args:
            path: of the resource.
            resource_id: its id: another one may have its name by now.

        Raises:
            ApiError: 404.
        """
        resource = self.get(path)
        if resource["id"] != resource_id:
            raise not_found(path)
        return resource

    def put(self, path: str, resource: Resource) -> Resource:
        """Add or replace a resource."""
        with self.lock:
            self._database.execute("INSERT OR REPLACE INTO resource VALUES (?, ?)", (path, json.dumps(resource)))
            self._kept[path] = resource
        return resource

    def update(self, path: str, **changes: Any) -> Resource:
        """Replace some fields; None removes one.

        Raises:
            ApiError: 404.
        """
        with self.lock:
            merged = {**self.get(path), **changes}
            return self.put(path, {key: value for key, value in merged.items() if value is not None})

    def delete(self, path: str) -> None:
        """Remove a resource, if it exists."""
        with self.lock:
            self._database.execute("DELETE FROM resource WHERE path = ?", (path,))
            self._kept.pop(path, None)

    def delete_same(self, path: str, resource_id: str) -> None:
        """Remove a resource, if it is still that one which has the path; see `get_same`."""
        with self.lock:
            if self._kept.get(path, {}).get("id") == resource_id:
                self.delete(path)

    def under(self, collection: str) -> list[tuple[str, Resource]]:
        """Return the resources of a collection such as `projects/p/zones/z/disks`, by name.

        A zone or region `-` means all of them.
        """
        with self.lock:
            everything = [*self._kept.items(), *self._given.items()]
        place = "regions" if "/regions/-/" in collection else "zones"
        before, _, after = collection.partition(f"/{place}/-/")
        if not after:
            prefix = collection + "/"
            found = [(p, r) for p, r in everything if p.startswith(prefix) and "/" not in p[len(prefix) :]]
        else:
            found = [(p, r) for p, r in everything if p.startswith(f"{before}/{place}/") and p.split("/")[-2] == after]
        return sorted(found)

    def project_id(self, project: str) -> str:
        """Return the id of a project that is named by its number, if it has resources; any other name as it is."""
        if not project.isdecimal():
            return project
        with self.lock:
            known = {path.split("/")[1] for path in (*self._kept, *self._given) if path.startswith("projects/")}
        return next((each for each in known if str(project_number(each)) == project), project)

    def projects(self) -> set[str]:
        """Return the ids of the projects that have anything stored."""
        with self.lock:
            return {path.split("/")[1] for path in self._kept if path.startswith("projects/")}

    def stored(self) -> list[tuple[str, Resource]]:
        """Return all stored resources."""
        with self.lock:
            return list(self._kept.items())

    def close(self) -> None:
        """Release the directory; what is stored stays."""
        with self.lock:
            self._database.close()
        self._lock_file.close()
