"""What of each service is in a saved state."""

import base64
import errno
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute.store import Store as ComputeStore
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.kms.store import Keys
from cos_customizer.emulator.logging.entries import LogEntries
from cos_customizer.emulator.registry.errors import RegistryError
from cos_customizer.emulator.registry.names import is_tag, repository
from cos_customizer.emulator.registry.store import Manifest
from cos_customizer.emulator.registry.store import Store as ContainerImages
from cos_customizer.emulator.saved_state.archive import ArchiveReader, ArchiveWriter, Member, Reader
from cos_customizer.emulator.saved_state.disk_files import check_disk_file, disk_files
from cos_customizer.emulator.secret_manager.store import Secrets
from cos_customizer.emulator.storage.store import Store as ObjectStore

_COMPUTE, _LOGS, _SECRETS, _KEYS = "compute.jsonl", "logs.jsonl", "secrets.jsonl", "keys.jsonl"
_BUCKETS, _OBJECTS, _CONTENTS = "storage/buckets.jsonl", "storage/objects.jsonl", "storage/contents/"
_MANIFESTS, _TAGS, _BLOBS = "registry/manifests.jsonl", "registry/tags.jsonl", "registry/blobs/"
_MACHINES = "machines/"
_ID = re.compile(r"[0-9]{1,20}")
"""Files are named by the ids of resources."""


@dataclass
class Loaded:
    """A state that was read into a directory of its own.

    Attributes:
        directory: has it, as a state directory; secrets have values, which are in no file.
        machines: kind of the machines.
        secrets: of Secret Manager, as `Secrets.saved` gives them.
    """

    directory: Path
    machines: str
    secrets: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def enough_room() -> Iterator[None]:
    """Say it if files find no room in the block.

    Raises:
        EmulatorError: they find none.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if isinstance(error, OSError) else (sqlite3.SQLITE_FULL,)
        if (error.errno if isinstance(error, OSError) else error.sqlite_errorcode) not in full:
            raise
        raise EmulatorError(f"there is no room for the state: {error}", "free some") from None


@enough_room()
def save_state(
    file: BinaryIO,
    about: dict[str, Any],
    directory: Path,
    compute: ComputeStore,
    objects: ObjectStore,
    images: ContainerImages,
    logs: LogEntries,
    secrets: Secrets,
    keys: Keys,
) -> None:
    """Write a state; nothing changes meanwhile.

    Args:
        file: where it goes.
        about: `machines`, the kind of the machines, and what people want to know.
        directory: the state directory.
        compute: resources of Compute Engine.
        objects: of Cloud Storage.
        images: of the registry.
        logs: of Cloud Logging.
        secrets: of Secret Manager.
        keys: of Cloud KMS.

    Raises:
        EmulatorError: there is no room.
    """
    writer = ArchiveWriter(file, about)
    writer.add_lines(_COMPUTE, ({"path": path, "resource": resource} for path, resource in compute.stored()))
    writer.add_lines(_LOGS, logs.saved())
    writer.add_lines(_SECRETS, secrets.saved())
    writer.add_lines(_KEYS, keys.saved())
    writer.add_lines(_BUCKETS, objects.buckets())
    contents: dict[str, Path] = {}
    rows = []
    for bucket in objects.buckets():
        for name, stored in objects.objects(bucket["name"]):
            assert isinstance(stored.content, Path)
            contents[stored.content.name] = stored.content
            row = {"bucket": bucket["name"], "name": name, "resource": stored.resource}
            rows.append({**row, "content": stored.content.name})
    for key, path in contents.items():
        writer.add_file(_CONTENTS + key, path)
    writer.add_lines(_OBJECTS, rows)
    _save_containers(writer, images)
    for name, path in disk_files(directory / "machines"):
        if not path.name.startswith("stand-in"):  # which is made, and not stored
            writer.add_file(_MACHINES + name, path)
    writer.end()


def _save_containers(writer: ArchiveWriter, images: ContainerImages) -> None:
    manifests, tags, blobs = [], [], set()
    for name in images.repositories():
        for digest in images.manifest_digests(name):
            manifest = images.manifest(name, digest)
            assert manifest is not None
            content = base64.b64encode(manifest.content).decode()
            manifests.append({"repository": name, "kind": manifest.kind, "content": content})
            blobs |= {named for named in manifest.digests() if images.blob(named)}
        for tag in images.tags(name):
            digest, pulled = images.tag(name, tag)
            tags.append({"repository": name, "tag": tag, "digest": digest, "pulled": pulled})
    for digest in sorted(blobs):
        if path := images.blob(digest):
            writer.add_file(_BLOBS + digest, path)
    writer.add_lines(_MANIFESTS, manifests)
    writer.add_lines(_TAGS, tags)


def load_state(source: Reader, directory: Path, machines: str, most_registry: int) -> Loaded:
    """Read a state into a directory.

    Args:
        source: has it.
        directory: empty; nothing else may use it.
        machines: kind of the machines that it is for.
        most_registry: bytes that the images of the registry may take.

    Raises:
        EmulatorError: it is foreign, damaged, of a later version, or for other machines; or there is no room.
    """
    try:
        with enough_room():
            return _load(source, directory, machines, most_registry)
    except (OSError, EmulatorError):
        raise
    except RegistryError as error:
        raise EmulatorError(f"the saved state's container images: {error}") from None
    except Exception as error:  # whatever the stores make of rows that they have never written
        raise EmulatorError(f"the saved state is damaged: {error!r:.1000}") from None


def _load(source: Reader, directory: Path, machines: str, most_registry: int) -> Loaded:
    reader = ArchiveReader(source)
    kind = str(reader.about.get("machines"))
    if kind != machines:
        raise EmulatorError(
            f"the state is of {kind[:20]} machines, and these are {machines}",
            f"start an emulator with -machines={kind[:20]}",
        )
    loading = _Loading(directory, machines, most_registry)
    try:
        for member in reader.members():
            loading.take(member)
    finally:
        loading.close()
    for _, path in disk_files(directory / "machines"):
        check_disk_file(path)
    return loading.loaded


class _Loading:
    """Puts members where the services find them."""

    def __init__(self, directory: Path, machines: str, most_registry: int) -> None:
        self.loaded = Loaded(directory, machines)
        self._machines = directory / "machines"
        self._compute = ComputeStore(directory)
        self._logs = LogEntries(directory, Clock())
        self._objects = ObjectStore(directory / "storage")
        self._keys = Keys(directory, Clock())
        self._images = ContainerImages(directory / "registry", most_registry)
        self._takers: dict[str, Callable[[Any], None]] = {
            _COMPUTE: self._resource,
            _SECRETS: self.loaded.secrets.append,
            _KEYS: self._keys.put,
            _BUCKETS: self._objects.put_bucket,
            _OBJECTS: self._object,
            _MANIFESTS: self._manifest,
            _TAGS: self._tag,
        }

    def take(self, member: Member) -> None:
        if member.name == _LOGS:
            self._logs.restore([_log_row(*row) for row in member.lines()])
        elif member.name in self._takers:
            for value in member.lines():
                self._takers[member.name](value)
        elif member.name.startswith(_CONTENTS):
            self._put(member, _CONTENTS, self._objects.draft_path)
        elif member.name.startswith(_BLOBS) and not member.link:
            self._images.add(member.name.removeprefix(_BLOBS), _Content(member))
        elif member.name.startswith(_MACHINES):
            self._put(member, _MACHINES, lambda name: self._machines / name)
        else:
            raise ValueError(f"{member.name} has no place in it")

    def close(self) -> None:
        self._compute.close()
        self._logs.close()
        self._objects.close()

    def _resource(self, value: Any) -> None:
        path, resource = value["path"], value["resource"]
        if not isinstance(path, str) or path.count("/") < 1 or not isinstance(resource, dict):
            raise ValueError(f"{path!r} is no resource")
        if not _ID.fullmatch(resource.get("id", "0")):
            raise ValueError(f"the id of {path} is {resource['id']!r}")
        self._compute.put(path, resource)

    def _object(self, value: Any) -> None:
        draft = self._objects.draft_path(Path(value["content"]).name)
        if not draft.is_file() or draft.stat().st_size != int(value["resource"]["size"]):
            raise ValueError(f"{value['name']!r} has another size")
        self._objects.bucket(value["bucket"])
        self._objects.put(value["bucket"], value["name"], value["resource"], draft)

    def _manifest(self, value: Any) -> None:
        manifest = Manifest(value["kind"], base64.b64decode(value["content"], validate=True))
        self._images.put_manifest(_repository(value), manifest, pulled=True)

    def _tag(self, value: Any) -> None:
        name = _repository(value)
        if self._images.manifest(name, value["digest"]) is None or not is_tag(value["tag"]):
            raise ValueError(f"the tag {value['tag']!r} of {name} is of no image")
        self._images.put_tag(name, value["tag"], value["digest"], bool(value["pulled"]))

    def _put(self, member: Member, beginning: str, place: Callable[[str], Path]) -> None:
        """Write a file, or another name of one of the same kind."""
        path = place(member.name.removeprefix(beginning))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not member.link:
            member.write_to(path)
            return
        if not member.link.startswith(beginning):
            raise ValueError(f"{member.name} is a link to {member.link}")
        path.hardlink_to(place(member.link.removeprefix(beginning)))


@dataclass(frozen=True)
class _Content:
    """A member's content as the registry reads it."""

    member: Member

    def read(self, size: int, /) -> bytes:
        return self.member.read(size)


def _log_row(log: str, at: int, key: str, body: str) -> tuple[str, int, str, str]:
    if not isinstance(json.loads(body), dict):
        raise ValueError(f"{body[:100]!r} is no entry")
    return str(log), int(at), str(key), str(body)


def _repository(value: Any) -> str:
    name: str = value["repository"]
    if repository("", name) != name:
        raise ValueError(f"{name!r} is no repository")
    return name
