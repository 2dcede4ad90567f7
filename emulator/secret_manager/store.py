"""Secrets and their versions, checked as the API checks them.

What is known of secrets is kept with the emulator's other state; their values are not. Those are in this process's
memory alone, so that no file ever holds one: when the emulator ends, all versions are destroyed.
"""

import json
import secrets as random
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import google_crc32c

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.errors import ApiError, EmulatorError
from cos_customizer.emulator.files import replacing
from cos_customizer.emulator.secret_manager.requests import (
    check_aliases,
    check_secret,
    check_secret_id,
    failed_precondition,
    masked_fields,
    payload_of,
    version_number,
)

Resource = dict[str, Any]
Change = Literal["enable", "disable", "destroy"]
LATEST = "latest"
_FILE = "secrets.json"
_STATES: dict[str, str] = {"enable": "ENABLED", "disable": "DISABLED", "destroy": "DESTROYED"}


class Secrets:
    """The secrets of all projects. Methods may be called from any thread.

    Args:
        directory: where what is known of them is kept; it goes on from what an earlier emulator has left there.
        clock: the emulator's.

    Raises:
        EmulatorError: what is there is of another kind.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._file = directory / _FILE
        self._clock = clock
        self._lock = threading.RLock()
        self._values: dict[str, bytes] = {}
        self._secrets: dict[str, Resource] = {}
        self._versions: dict[str, list[Resource]] = {}
        self._lost: set[str] = set()
        self._load()

    def create(self, parent: str, secret_id: str, body: Resource) -> Resource:
        """Make a secret, which has no versions yet.

        Args:
            parent: `projects/{number}`.
            secret_id: its name.
            body: a `Secret`.

        Raises:
            ApiError: 400, 409 or 501.
        """
        check_secret_id(secret_id)
        check_secret(body)
        if "replication" not in body:
            raise ApiError(400, "badRequest", "Field [secret.replication] is required.")
        name = f"{parent}/secrets/{secret_id}"
        with self._changing():
            if name in self._secrets:
                raise ApiError(409, "alreadyExists", f"Secret [{name}] already exists.")
            given = {field: value for field, value in body.items() if field not in ("name", "etag", "createTime")}
            check_aliases(given, 0)
            self._secrets[name] = {"name": name, **given, "createTime": self._now(), "etag": _etag()}
            self._versions[name] = []
            return dict(self._secrets[name])

    def get(self, name: str) -> Resource:
        """Return a secret.

        Raises:
            ApiError: 404.
        """
        with self._lock:
            return dict(self._secret(name))

    def under(self, parent: str) -> list[Resource]:
        """Return the secrets of a project, by name."""
        with self._lock:
            return [dict(self._secrets[name]) for name in sorted(self._secrets) if name.startswith(f"{parent}/")]

    def patch(self, name: str, body: Resource, mask: str) -> Resource:
        """Change fields of a secret.

        Args:
            name: the secret.
            body: a `Secret` with the new values.
            mask: the fields to change, as `updateMask` has them.

        Raises:
            ApiError: 400, 404 or 501.
        """
        check_secret(body)
        fields = masked_fields(mask)
        with self._changing():
            secret = self._secret(name)
            _check_etag(secret, str(body.get("etag", "")))
            changed = {field: body[field] for field in fields if field in body}
            check_aliases(changed, len(self._versions[name]))
            rest = {field: value for field, value in secret.items() if field not in fields}
            self._secrets[name] = {**rest, **changed, "etag": _etag()}
            return dict(self._secrets[name])

    def delete(self, name: str, etag: str) -> None:
        """Delete a secret and all its versions.

        Raises:
            ApiError: 400 or 404.
        """
        with self._changing():
            _check_etag(self._secret(name), etag)
            del self._secrets[name]
            for version in self._versions.pop(name):
                self._values.pop(version["name"], None)

    def add_version(self, name: str, body: Resource) -> Resource:
        """Add a version, with a value, to a secret.

        Args:
            name: the secret.
            body: the request, with a `payload`.

        Raises:
            ApiError: 400 or 404.
        """
        value, is_checked = payload_of(body)
        with self._changing():
            versions = self._versions[self._secret(name)["name"]]
            version: Resource = {
                "name": f"{name}/versions/{len(versions) + 1}",
                "createTime": self._now(),
                "state": "ENABLED",
                "replicationStatus": {"automatic": {}},
                "etag": _etag(),
                **({"clientSpecifiedPayloadChecksum": True} if is_checked else {}),
            }
            versions.append(version)
            self._values[version["name"]] = value
            return dict(version)

    def versions(self, name: str) -> list[Resource]:
        """Return the versions of a secret, the newest first.

        Raises:
            ApiError: 404.
        """
        with self._lock:
            return [dict(version) for version in reversed(self._versions[self._secret(name)["name"]])]

    def version(self, name: str, version: str) -> Resource:
        """Return a version of a secret.

        Args:
            name: the secret.
            version: its number, `latest`, or an alias.

        Raises:
            ApiError: 404.
        """
        with self._lock:
            return dict(self._version(name, version))

    def access(self, name: str, version: str) -> tuple[Resource, bytes]:
        """Return a version and its value.

        Raises:
            ApiError: 400, it is not enabled, or 404.
        """
        with self._lock:
            found = self._version(name, version)
            if found["name"] in self._lost:
                raise failed_precondition(
                    f"Secret Version [{found['name']}] is in {found['state']} state: the local Secret Manager keeps "
                    "values in memory, and this one ended with the emulator that had it. Add it again."
                )
            if found["state"] != "ENABLED":
                raise failed_precondition(f"Secret Version [{found['name']}] is in {found['state']} state.")
            return dict(found), self._values[found["name"]]

    def change(self, name: str, version: str, change: Change, etag: str) -> Resource:
        """Enable, disable or destroy a version.

        Args:
            name: the secret.
            version: its number, `latest`, or an alias.
            change: what to do.
            etag: of the version as it is to be now; empty for any.

        Raises:
            ApiError: 400, it is destroyed or has another etag, or 404.
        """
        with self._changing():
            found = self._version(name, version)
            _check_etag(found, etag)
            if found["state"] == "DESTROYED":
                raise failed_precondition(f"Secret Version [{found['name']}] is in DESTROYED state.")
            found |= {"state": _STATES[change], "etag": _etag()}
            if change == "destroy":
                found["destroyTime"] = self._now()
                del self._values[found["name"]]
            return dict(found)

    def saved(self) -> list[Resource]:
        """Return all secrets with their versions, and the values that there are, by the versions' names, in base64."""
        with self._lock:
            return [
                {"secret": secret, "versions": versions, "values": self._encoded(versions)}
                for name, secret in self._secrets.items()
                for versions in [self._versions[name]]
            ]

    def restore(self, saved: list[Resource]) -> None:
        """Put secrets in the place of those that are there.

        Args:
            saved: see `saved`.

        Raises:
            EmulatorError: it is of another kind.
        """
        try:
            secrets = {str(known["secret"]["name"]): dict(known["secret"]) for known in saved}
            versions = {str(known["secret"]["name"]): [dict(each) for each in known["versions"]] for known in saved}
            values = {str(name): b64decode(value) for known in saved for name, value in known["values"].items()}
            live = {each["name"] for known in versions.values() for each in known if each["state"] != "DESTROYED"}
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise EmulatorError(f"the secrets are not the emulator's ({error!r})") from None
        with self._changing():
            self._secrets, self._versions = secrets, versions
            self._values = {name: value for name, value in values.items() if name in live}
            self._lost = live - values.keys()

    def _encoded(self, versions: list[Resource]) -> dict[str, str]:
        there = [each["name"] for each in versions if each["name"] in self._values]
        return {name: b64encode(self._values[name]).decode() for name in there}

    def _secret(self, name: str) -> Resource:
        if name not in self._secrets:
            raise ApiError(404, "notFound", f"Secret [{name}] not found.")
        return self._secrets[name]

    def _version(self, name: str, version: str) -> Resource:
        versions = self._versions.get(name)
        if not versions:
            raise ApiError(404, "notFound", f"Secret [{name}] not found or has no versions.")
        number = self._secrets[name].get("versionAliases", {}).get(version, version)
        index = len(versions) if version == LATEST else version_number(number)
        if not 0 < index <= len(versions):
            raise ApiError(404, "notFound", f"Secret Version [{name}/versions/{version}] not found.")
        return versions[index - 1]

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let changes happen one after the other, and keep what they come to."""
        with self._lock:
            yield
            self._save()

    def _save(self) -> None:
        known = [{"secret": secret, "versions": self._versions[name]} for name, secret in self._secrets.items()]
        with replacing(self._file) as partial:
            partial.touch(mode=0o600)
            partial.write_text(json.dumps(known))

    def _load(self) -> None:
        for left in self._file.parent.glob(f".{_FILE}.*"):  # of an emulator that was killed while it wrote
            left.unlink(missing_ok=True)
        if not self._file.exists():
            return
        try:
            for known in json.loads(self._file.read_text()):
                name = known["secret"]["name"]
                self._secrets[name], self._versions[name] = known["secret"], known["versions"]
                for version in known["versions"]:
                    if version["state"] != "DESTROYED":
                        version |= {"state": "DESTROYED", "destroyTime": self._now(), "etag": _etag()}
                        self._lost.add(version["name"])
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise EmulatorError(f"{self._file} is not the emulator's ({error})", "move it away") from None

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def checksum(value: bytes) -> str:
    """Return the CRC-32C of a value as the API writes it: a decimal number as a text."""
    return str(google_crc32c.value(value))


def _etag() -> str:
    return f'"{random.token_hex(7)}"'


def _check_etag(resource: Resource, etag: str) -> None:
    if etag and etag != resource["etag"]:
        raise failed_precondition(
            f"The etag provided in the request [{etag[:100]}] does not match the etag of [{resource['name']}]."
        )
