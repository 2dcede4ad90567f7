"""A bill of materials of an image, whatever its format: the parts that were found in it, each once, in one order."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID, uuid5

from cos_customizer.customizer.contents import package_urls
from cos_customizer.customizer.contents.inventory import Container, Contents, File, Inventory

MOST_FILES = 5_000
"""Files that a bill names: to write that many takes seconds, and few readers open a bill of more."""
_NAMESPACE = UUID("0ecae47e-20ce-5b9f-8d1b-5b0b9d0c7a52")

PartKind = Literal["system", "package", "container", "driver", "file"]


@dataclass(frozen=True)
class Subject:
    """The image that documents are about.

    Attributes:
        project: Its project.
        name: Its name.
        id: Numeric id, as text.
        self_link: Its address in the API.
        created: RFC 3339 time of its creation, which is the time of the documents too.
        source: Path of the source image: `projects/{project}/global/images/{image}`.
        source_id: Numeric id of that.
        version: This program's.
    """

    project: str
    name: str
    id: str
    self_link: str
    created: str
    source: str
    source_id: str
    version: str

    def uuid(self, what: str) -> UUID:
        """An identifier of one of its documents: the same one whenever the document is made."""
        return uuid5(_NAMESPACE, f"{self.self_link}/{self.id}/{what}")


@dataclass(frozen=True)
class Part:
    """Something in an image.

    Attributes:
        key: Sets it apart from every other part of the bill.
        kind: What it is.
        name: As its own kind names it; a path for a file.
        version: Empty if it has none.
        supplier: Who has made it, where that is known; else empty.
        purl: Package URL; empty if there is none for its kind.
        sha256: Digest of its bytes, in hexadecimal digits; empty if it has none.
        origin: Whether it was in the source image, or the build has brought it (or brought another version).
    """

    key: str
    kind: PartKind
    name: str
    version: str = ""
    supplier: str = ""
    purl: str = ""
    sha256: str = ""
    origin: Literal["source", "build"] = "source"


@dataclass(frozen=True)
class Bill:
    """What an image is made of.

    Attributes:
        parts: Sorted by kind and key.
        left_out: What it does not name, in words.
    """

    parts: tuple[Part, ...]
    left_out: tuple[str, ...]


def bill_of(contents: Contents) -> Bill:
    """The bill of materials of an image.

    It names the system, every package, container image and kernel module that was found, and those regular files that
    the source image does not have with the same bytes: all others come with the system, or belong to its packages.

    Args:
        contents: Recorded of the image.
    """
    before, after = contents.before, contents.after
    old = {part.key for part in _parts_but_files(before)}
    parts = [_of(part, "source" if part.key in old else "build") for part in _parts_but_files(after)]
    files = [_file(file) for file in after.files.values() if file.sha256 and not _is_same(file, before)]
    files.sort(key=lambda part: part.key)
    left_out = list(after.left_out)
    if len(files) > MOST_FILES:
        left_out.append(f"{len(files) - MOST_FILES} files beyond the first {MOST_FILES}")
    unique = {part.key: part for part in [*parts, *files[:MOST_FILES]]}
    return Bill(tuple(unique.values()), tuple(left_out))


def _of(part: Part, origin: Literal["source", "build"]) -> Part:
    return Part(part.key, part.kind, part.name, part.version, part.supplier, part.purl, part.sha256, origin)


def _is_same(file: File, before: Inventory) -> bool:
    known = before.files.get(file.path)
    return known is not None and known.kind == file.kind and known.sha256 == file.sha256


def _parts_but_files(inventory: Inventory) -> list[Part]:
    system, found = inventory.system, []
    supplier = _supplier(system)
    if name := system.get("NAME") or system.get("ID"):
        version = "-".join(filter(None, [system.get("VERSION_ID"), system.get("BUILD_ID")]))
        found.append(Part(f"system:{name}:{version}", "system", name, version, supplier))
    for package in sorted(inventory.packages):
        key = ":".join(filter(None, [package.kind, package.name, package.architecture, package.version]))
        purl = package_urls.of_package(package, system)
        found.append(Part(key, "package", package.name, package.version, supplier, purl))
    found += [_container(container) for container in sorted(inventory.containers)]
    for name, version in sorted(inventory.modules.items()):
        purl = package_urls.generic(name, version)
        found.append(Part(f"module:{name}:{version}", "driver", name, version, purl=purl))
    return found


def _container(container: Container) -> Part:
    key = ":".join(filter(None, [container.runtime, container.namespace, container.id]))
    name = next(iter([*container.names, *container.digests]), container.id)
    digest = package_urls.manifest_digest(container) or container.id
    return Part(key, "container", name, digest, purl=package_urls.of_container(container))


def _file(file: File) -> Part:
    path = printable(file.path)
    return Part(f"file:{path}", "file", path, sha256=file.sha256 or "", origin="build")


def printable(path: str) -> str:
    """A path as a document can have it: bytes that are no UTF-8 are written as escapes."""
    return path.encode(errors="backslashreplace").decode()


def _supplier(system: dict[str, str]) -> str:
    """Who a system's packages come from: whoever `/etc/os-release` names, https://systemd.io/os-release."""
    return "Google LLC" if system.get("ID") == "cos" else system.get("VENDOR_NAME") or system.get("NAME", "")
