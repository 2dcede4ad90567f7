"""What a machine's own programs say of it, as `guest/contents.sh` passes it on, read into the model of an inventory.

Every function takes texts, and raises ValueError if one is not what its program writes: a text is data, and a step may
have changed whatever wrote it.
"""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from cos_customizer.customizer.contents.inventory import Container, File, FileKind, Package, Partition

_KINDS: dict[str, FileKind] = {
    "f": "file",
    "d": "directory",
    "l": "link",
    "p": "fifo",
    "s": "socket",
    "b": "block",
    "c": "character",
}
"""Letters of `find -printf %y`."""
_FILE = re.compile(r"([a-zA-Z?]) ([0-7]{1,5}) ([0-9]{1,10}) ([0-9]{1,10}) ([0-9]{1,19})")
_DIGEST = re.compile(r"([0-9a-f]{64})  (/.*)", re.DOTALL)
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of nothing."""
_SECTOR = 512
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def system(os_release: str) -> dict[str, str]:
    """Variables of `/etc/os-release`. Source: https://www.freedesktop.org/software/systemd/man/latest/os-release.html."""
    found: dict[str, str] = {}
    for line in os_release.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            found[name] = "".join(shlex.split(value))
    return found


def cos_packages(package_info: str) -> Iterator[Package]:
    """Packages of `/etc/cos-package-info.json`: those that are installed, not those that were used to build it.

    Source: https://github.com/GoogleCloudPlatform/cos-customizer, src/pkg/cos/pkg_info.go.
    """
    listed = _object(json.loads(package_info)).get("installedPackages")
    for package in _list(listed):
        said = {name: str(value) for name, value in _object(package).items()}
        category, name = said.get("category", ""), said.get("name", "")
        version = said.get("ebuild_version") or said.get("version", "")
        if not name:
            raise ValueError("a package has no name")
        yield Package("cos", f"{category}/{name}" if category else name, version)


def deb_packages(lines: str) -> Iterator[Package]:
    """Packages of dpkg: state, name, version, architecture and source package behind tabs; those that are installed."""
    for state, name, version, architecture, source in _rows(lines, 5):
        if state[1:2] == "i":
            yield Package("deb", name, version, architecture, source if source != name else "")


def rpm_packages(lines: str) -> Iterator[Package]:
    """Packages of rpm: name, `epoch:version-release`, architecture, source package; keys are packages to rpm."""
    for name, version, architecture, source in _rows(lines, 4):
        if name == "gpg-pubkey":
            continue
        origin = source.removesuffix(".rpm").rsplit("-", 2)[0] if source.endswith(".src.rpm") else ""
        machine = architecture if architecture != "(none)" else ""
        yield Package("rpm", name, version.removeprefix("(none):"), machine, origin if origin != name else "")


def docker_images(lines: str) -> Iterator[Container]:
    """Images of a running docker: one JSON object a line, with Id, RepoTags, RepoDigests, Layers and Size.

    Source: https://docs.docker.com/reference/cli/docker/image/inspect/.
    """
    for line in filter(None, lines.splitlines()):
        image = _object(json.loads(line))
        yield Container(
            "docker",
            "",
            str(image.get("Id")),
            _texts(image.get("RepoTags")),
            _texts(image.get("RepoDigests")),
            _digests(image.get("Layers")),
            _size(image.get("Size")),
        )


def stored_docker_images(repositories: str, layers: str) -> Iterator[Container]:
    """Images of a docker that does not run, as it keeps them below `/var/lib/docker/image`.

    Args:
        repositories: `repositories.json`: by repository, references and the ids of images.
        layers: of each image its id, a tab, and the list of its layers in JSON.
    """
    references: dict[str, set[str]] = {}
    for named in _object(_object(json.loads(repositories or "{}")).get("Repositories") or {}).values():
        for reference, image in _object(named).items():
            references.setdefault(str(image), set()).add(reference)
    for image, listed in _rows(layers, 2):
        said = references.get(image, set())
        names, digests = (sorted(each for each in said if ("@" in each) == by_digest) for by_digest in (False, True))
        yield Container("docker", "", image, tuple(names), tuple(digests), _digests(json.loads(listed)))


def containerd_images(lines: str) -> Iterator[Container]:
    """Images of containerd: namespace, reference, digest, manifest in JSON, list of layers in JSON.

    Several references may lead to one image. The manifest is that of the machine's own architecture, and empty, as the
    layers are, where only a part of an image is there.
    """
    found: dict[tuple[str, str], tuple[set[str], tuple[str, ...], int]] = {}
    for namespace, reference, digest, manifest, layers in _rows(lines, 5):
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"not a digest: {digest[:80]!r}")
        parts = [_object(part) for part in _list(_object(json.loads(manifest or "{}")).get("layers") or [])]
        size = sum(_size(part.get("size")) for part in parts)
        names, *_ = found.setdefault((namespace, digest), (set(), _digests(json.loads(layers or "[]")), size))
        if not reference.startswith("sha256:"):
            names.add(reference)
    for (namespace, digest), (references, layers_of, size) in found.items():
        tags = sorted(reference for reference in references if "@" not in reference)
        digests = {f"{reference.partition('@')[0]}@{digest}" for reference in references if "@" in reference}
        digests |= {f"{_repository(tag)}@{digest}" for tag in tags}
        yield Container("containerd", namespace, digest, tuple(tags), tuple(sorted(digests)), layers_of, size)


def files(records: bytes, digests: bytes) -> tuple[dict[str, File], int]:
    """Files, by path.

    Args:
        records: of each file `find`'s `%y %m %U %G %s`, its path, and where it leads, each with a NUL behind it.
        digests: lines of `sha256sum --zero`.

    Returns:
        The files, and how many regular ones have no digest.
    """
    known: dict[str, str] = {}
    for line in _text(digests).split("\0"):
        if found := _DIGEST.fullmatch(line):
            known[found[2]] = found[1]
        elif line:
            raise ValueError(f"not a digest and a path: {line[:80]!r}")
    items = _text(records).split("\0")
    if items.pop() or len(items) % 3:
        raise ValueError("the list of files is cut off")
    result: dict[str, File] = {}
    unread = 0
    for at in range(0, len(items), 3):
        said, path, target = items[at : at + 3]
        fields = _FILE.fullmatch(said)
        if fields is None or not path.startswith("/"):
            raise ValueError(f"not a file: {said[:80]!r} {path[:80]!r}")
        kind = _KINDS.get(fields[1])
        if kind is None:
            continue  # a door, or what was gone when it was looked at
        mode, user, group = int(fields[2], 8), int(fields[3]), int(fields[4])
        if kind != "file":
            result[path] = File(path, kind, mode, user, group, target=target if kind == "link" else None)
            continue
        size = int(fields[5])
        digest = known.get(path) if size else _EMPTY
        unread += digest is None
        result[path] = File(path, kind, mode, user, group, size, digest)
    return result, unread


def units(lines: str) -> dict[str, str]:
    """States of unit files, of `systemctl list-unit-files`: name, state, and what is not of interest here."""
    words = (line.split() for line in lines.splitlines())
    return {name: state for name, state, *_ in (each for each in words if len(each) > 1)}


def partitions(dump: str, file_systems: str) -> Iterator[Partition]:
    """Partitions of `sfdisk --dump`, with their file systems.

    Args:
        dump: of the boot disk; `/dev/sda1 : start=…, size=…, type=…, name="…"`.
        file_systems: lines of a device and, behind a space, the kind of its file system.
    """
    kinds = dict(line.split(" ", 1) for line in file_systems.splitlines() if " " in line)
    sector = _SECTOR
    for line in dump.splitlines():
        if found := re.fullmatch(r"sector-size: ([0-9]{1,6})", line.strip()):
            sector = int(found[1])
        device, colon, said = line.partition(" : ")
        number = re.search("[0-9]{1,4}$", device.strip())
        if not colon or number is None:
            continue
        size, kind = re.search(r"\bsize= *([0-9]{1,19})", said), re.search(r"\btype=([^,\s]+)", said)
        name = re.search(r'\bname="((?:[^"\\]|\\.)*)"', said)
        if size is None:
            raise ValueError(f"not a partition: {line[:80]!r}")
        yield Partition(
            int(number[0]),
            _unescaped(name[1]) if name else "",
            kind[1].lower() if kind and _GUID.fullmatch(kind[1]) else "",
            int(size[1]) * sector,
            kinds.get(device.strip(), "").strip(),
        )


def modules(modinfo: str, nvidia: str) -> dict[str, str]:
    """Versions of kernel modules, by name: of several modules that `modinfo` describes, one behind the other.

    Args:
        modinfo: lines of a field's name, a colon and its value; `filename` begins the next module.
        nvidia: version of NVIDIA's driver, if it is loaded.
    """
    found: dict[str, dict[str, str]] = {}
    said: dict[str, str] = {}
    for line in modinfo.splitlines():
        field, _, value = line.partition(":")
        if field == "filename":
            name = value.strip().rpartition("/")[2].partition(".ko")[0].replace("-", "_")
            said = found.setdefault(name, {})
        said.setdefault(field, value.strip())
    versions = {name: fields.get("version") or fields.get("srcversion", "") for name, fields in found.items() if name}
    return {**({"nvidia": nvidia.strip()} if nvidia.strip() else {}), **versions}


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def _rows(lines: str, columns: int) -> Iterator[list[str]]:
    for line in lines.split("\n"):
        if not line:
            continue
        row = line.split("\t")
        if len(row) != columns:
            raise ValueError(f"not {columns} columns: {line[:80]!r}")
        yield row


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object: {str(value)[:80]!r}")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"not a JSON list: {str(value)[:80]!r}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(sorted(str(each) for each in _list(value or []) if "<none>" not in str(each)))


def _digests(value: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in _list(value or []))


def _size(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _repository(name: str) -> str:
    """A reference without its tag: a colon behind the last slash begins one."""
    place, slash, last = name.rpartition("/")
    return place + slash + last.partition(":")[0]


def _unescaped(text: str) -> str:
    r"""A name as sfdisk writes it: `\x20` for what is no plain character."""
    return re.sub(r"\\x([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), text).replace('\\"', '"')
