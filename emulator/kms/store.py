"""Key rings, keys and their versions, checked as the API checks them.

The keys themselves are in a file that only the emulator's user can read: what they have signed can be checked after the
emulator has been started again. They protect nothing beyond this machine.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google_crc32c

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.errors import ApiError, EmulatorError
from cos_customizer.emulator.files import replacing
from cos_customizer.emulator.kms.signing import ALGORITHMS, NUMBERS, Algorithm, new_key, public_part, signature

Resource = dict[str, Any]
_FILE = "keys.json"
_ID = re.compile(r"[a-zA-Z0-9_-]{1,63}")
_PURPOSE, _LEVEL = "ASYMMETRIC_SIGN", "SOFTWARE"
_PURPOSES, _LEVELS = (_PURPOSE, 5), (None, "", "PROTECTION_LEVEL_UNSPECIFIED", 0, _LEVEL, 1)
_STATES: dict[str, tuple[object, ...]] = {"ENABLED": ("ENABLED", 1), "DISABLED": ("DISABLED", 2)}
_KEPT = ("rings", "keys", "versions", "private")


class Keys:
    """The keys of all projects. Methods may be called from any thread.

    Args:
        directory: Where they are kept; it goes on from what an earlier emulator has left there.
        clock: The emulator's.

    Raises:
        EmulatorError: What is there is of another kind.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._file = directory / _FILE
        self._clock = clock
        self._lock = threading.RLock()
        self._rings: dict[str, Resource] = {}
        self._keys: dict[str, Resource] = {}
        self._versions: dict[str, list[Resource]] = {}
        self._private: dict[str, str] = {}
        if self._file.exists():
            try:
                self._take(json.loads(self._file.read_text()))
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                raise EmulatorError(f"{self._file} is not the emulator's ({error!r})", "move it away") from None

    def create_ring(self, parent: str, ring: str) -> Resource:
        """Make a key ring.

        Args:
            parent: `projects/{project}/locations/{location}`.
            ring: Its name.

        Raises:
            ApiError: 400 or 409.
        """
        with self._changing():
            name = self._new(f"{parent}/keyRings", ring, self._rings, "KeyRing")
            self._rings[name] = {"name": name, "createTime": self._now()}
            return dict(self._rings[name])

    def ring(self, name: str) -> Resource:
        """Return a key ring.

        Raises:
            ApiError: 404.
        """
        return dict(self._found(self._rings, name, "KeyRing"))

    def rings(self, parent: str) -> list[Resource]:
        """Return the key rings of a project at a location, by name."""
        return self._below(self._rings, f"{parent}/keyRings/")

    def create_key(self, ring: str, key: str, body: Resource, is_empty: bool = False) -> Resource:
        """Make a key, with a first version.

        Args:
            ring: Name of its ring.
            key: Its name.
            body: A `CryptoKey`.
            is_empty: It is to have no version yet.

        Raises:
            ApiError: 400, 404, 409 or 501.
        """
        algorithm = _algorithm_of(body)
        with self._changing():
            self._found(self._rings, ring, "KeyRing")
            name = self._new(f"{ring}/cryptoKeys", key, self._keys, "CryptoKey")
            self._keys[name] = {
                "name": name,
                "purpose": _PURPOSE,
                "createTime": self._now(),
                "versionTemplate": {"algorithm": algorithm, "protectionLevel": _LEVEL},
                "destroyScheduledDuration": "2592000s",
                **({"labels": body["labels"]} if body.get("labels") else {}),
            }
            self._versions[name] = []
            if not is_empty:
                self.create_version(name)
            return dict(self._keys[name])

    def key(self, name: str) -> Resource:
        """Return a key.

        Raises:
            ApiError: 404.
        """
        return dict(self._found(self._keys, name, "CryptoKey"))

    def keys(self, ring: str) -> list[Resource]:
        """Return the keys of a ring, by name.

        Raises:
            ApiError: 404.
        """
        self.ring(ring)
        return self._below(self._keys, f"{ring}/cryptoKeys/")

    def all(self) -> list[Resource]:
        """Return the keys of all projects, by name."""
        return self._below(self._keys, "")

    def create_version(self, key: str) -> Resource:
        """Make a new version of a key.

        Raises:
            ApiError: 404.
        """
        algorithm = self.key(key)["versionTemplate"]["algorithm"]
        private = new_key(ALGORITHMS[algorithm])
        with self._changing():
            self._found(self._keys, key, "CryptoKey")
            now = self._now()
            version: Resource = {
                "name": f"{key}/cryptoKeyVersions/{len(self._versions[key]) + 1}",
                "state": "ENABLED",
                "protectionLevel": _LEVEL,
                "algorithm": algorithm,
                "createTime": now,
                "generateTime": now,
            }
            self._versions[key].append(version)
            self._private[version["name"]] = private
            return dict(version)

    def versions(self, key: str) -> list[Resource]:
        """Return the versions of a key, the oldest first.

        Raises:
            ApiError: 404.
        """
        with self._lock:
            self._found(self._keys, key, "CryptoKey")
            return [dict(version) for version in self._versions[key]]

    def version(self, name: str) -> Resource:
        """Return a version of a key.

        Raises:
            ApiError: 404.
        """
        with self._lock:
            return dict(self._version(name))

    def set_state(self, name: str, wanted: object) -> Resource:
        """Enable or disable a version.

        Args:
            name: The version.
            wanted: `ENABLED` or `DISABLED`, or their numbers.

        Raises:
            ApiError: 400 or 404.
        """
        state = next((each for each, ways in _STATES.items() if wanted in ways), "")
        if not state:
            raise _invalid(f"crypto_key_version.state cannot be set to {str(wanted)[:100]!r}")
        with self._changing():
            version = self._version(name)
            if version["state"] not in ("ENABLED", "DISABLED"):
                raise _failed_precondition(f"{name} cannot be changed: its state is {version['state']}.")
            version["state"] = state
            return dict(version)

    def destroy(self, name: str) -> Resource:
        """Schedule the destruction of a version. Its time never comes here.

        Raises:
            ApiError: 400 or 404.
        """
        return self._pass(name, ("ENABLED", "DISABLED"), "DESTROY_SCHEDULED")

    def restore(self, name: str) -> Resource:
        """Take back the destruction of a version, which is disabled then.

        Raises:
            ApiError: 400 or 404.
        """
        return self._pass(name, ("DESTROY_SCHEDULED",), "DISABLED")

    def public_key(self, name: str) -> Resource:
        """Return the public key of a version.

        Raises:
            ApiError: 400, it is not enabled, or 404.
        """
        version, private = self._usable(name)
        pem = public_part(private)
        return {
            "name": name,
            "pem": pem,
            "pemCrc32c": checksum(pem.encode()),
            "algorithm": version["algorithm"],
            "protectionLevel": _LEVEL,
            "publicKeyFormat": "PEM",
            "publicKey": {"data": _in_base64(pem.encode()), "crc32cChecksum": checksum(pem.encode())},
        }

    def sign(self, name: str, digests: dict[str, bytes], data: bytes | None) -> bytes:
        """Sign a digest, or the digest of data.

        Args:
            name: The version.
            digests: By their algorithms, one of them; none if there are data.
            data: None if there is a digest.

        Raises:
            ApiError: 400 or 404.
        """
        version, private = self._usable(name)
        algorithm: Algorithm = ALGORITHMS[version["algorithm"]]
        if (data is None) != (len(digests) == 1):
            raise _invalid("Exactly one of digest and data must be set.")
        digest = digests.get(algorithm.hash) if data is None else hashlib.new(algorithm.hash, data).digest()
        if digest is None:
            raise _invalid(f"{name} is of {version['algorithm']}: the digest must be {algorithm.hash}.")
        if len(digest) != hashlib.new(algorithm.hash).digest_size:
            raise _invalid(f"digest.{algorithm.hash} has {len(digest)} bytes.")
        return signature(private, algorithm, digest)

    def remove_project(self, project: str) -> None:
        """Forget what one project has."""
        with self._changing():
            for kept in (self._rings, self._keys, self._versions, self._private):
                for name in [name for name in kept if name.startswith(f"projects/{project}/")]:
                    del kept[name]

    def saved(self) -> list[Resource]:
        """Return everything, keys included."""
        with self._lock:
            return [{"kind": kind, "kept": getattr(self, f"_{kind}")} for kind in _KEPT]

    def put(self, row: Resource) -> None:
        """Put one row of what `saved` has returned in its place."""
        with self._changing():
            before = {each["kind"]: each["kept"] for each in self.saved()}
            if row["kind"] not in before:
                raise ValueError(f"{row['kind']!r} is nothing that keys have")
            self._take({**before, row["kind"]: row["kept"]})

    def _take(self, kept: Resource) -> None:
        self._rings, self._keys = dict(kept["rings"]), dict(kept["keys"])
        self._versions = {name: list(versions) for name, versions in kept["versions"].items()}
        self._private = dict(kept["private"])

    def _usable(self, name: str) -> tuple[Resource, str]:
        with self._lock:
            version = self._version(name)
            if version["state"] != "ENABLED":
                raise _failed_precondition(f"{name} is not enabled, current state is: {version['state']}.")
            return dict(version), self._private[name]

    def _pass(self, name: str, before: tuple[str, ...], after: str) -> Resource:
        with self._changing():
            version = self._version(name)
            if version["state"] not in before:
                raise _failed_precondition(f"{name} cannot become {after}: its state is {version['state']}.")
            version["state"] = after
            return dict(version)

    def _version(self, name: str) -> Resource:
        key, _, number = name.rpartition("/cryptoKeyVersions/")
        found = [version for version in self._versions.get(key, []) if version["name"] == name]
        if not found or not number:
            raise ApiError(404, "notFound", f"CryptoKeyVersion {name} not found.")
        return found[0]

    @staticmethod
    def _new(parent: str, name: str, kept: dict[str, Resource], what: str) -> str:
        if not _ID.fullmatch(name):
            raise _invalid(f"{what} id {name[:100]!r} must match the pattern {_ID.pattern}.")
        whole = f"{parent}/{name}"
        if whole in kept:
            raise ApiError(409, "alreadyExists", f"{what} {whole} already exists.")
        return whole

    def _found(self, kept: dict[str, Resource], name: str, what: str) -> Resource:
        with self._lock:
            if name not in kept:
                raise ApiError(404, "notFound", f"{what} {name} not found.")
            return kept[name]

    def _below(self, kept: dict[str, Resource], prefix: str) -> list[Resource]:
        with self._lock:
            return [dict(kept[name]) for name in sorted(kept) if name.startswith(prefix)]

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            yield
            with replacing(self._file) as partial:
                partial.touch(mode=0o600)
                partial.write_text(json.dumps({each["kind"]: each["kept"] for each in self.saved()}))

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def checksum(value: bytes) -> str:
    """Return the CRC-32C of a value as the API writes it: a decimal number as a text."""
    return str(google_crc32c.value(value))


def _in_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _algorithm_of(body: Resource) -> str:
    """The algorithm of a `CryptoKey`. Google's client writes numbers for names."""
    template = body.get("versionTemplate")
    if body.get("purpose") not in _PURPOSES:
        raise ApiError(501, "notImplemented", f"The local Cloud KMS has keys of purpose {_PURPOSE} only.")
    if not isinstance(template, dict) or not template.get("algorithm"):
        raise _invalid("crypto_key.version_template.algorithm is required.")
    if template.get("protectionLevel") not in _LEVELS:
        raise ApiError(501, "notImplemented", f"The local Cloud KMS has keys of protection level {_LEVEL} only.")
    algorithm = template["algorithm"]
    algorithm = NUMBERS.get(algorithm, "") if isinstance(algorithm, int) else str(algorithm)
    if algorithm not in ALGORITHMS:
        what = str(template["algorithm"])[:100]
        raise ApiError(501, "notImplemented", f"The local Cloud KMS does not have the algorithm {what!r}.")
    return algorithm


def _invalid(message: str) -> ApiError:
    return ApiError(400, "badRequest", message)


def _failed_precondition(message: str) -> ApiError:
    return ApiError(400, "failedPrecondition", message)
