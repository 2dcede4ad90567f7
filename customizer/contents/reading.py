"""Reads the contents that a builder VM has recorded: a gzipped tar of what its own programs say, before and after.

`guest/contents.sh` is the other end. The archive has a member `version`, and below `before/` and `after/` one for each
text:

| Member | What it is |
|---|---|
| `os-release`, `packages.json` | files of `/etc`, as they are |
| `dpkg`, `rpm` | packages, a line each, columns behind tabs |
| `docker`, `docker-repositories.json`, `docker-layers`, `containerd` | container images: see `texts` |
| `files`, `digests` | what `find` and `sha256sum` say, with NULs between |
| `units` | `systemctl list-unit-files` |
| `boot-menu`, `cmdline` | `grub.cfg`, `/proc/cmdline` |
| `partitions`, `file-systems` | `sfdisk --dump`; devices and the kinds of their file systems |
| `modules`, `nvidia` | `modinfo`; the version of NVIDIA's driver |
| `left-out` | what was not taken, in words |

Whatever is in it is data: it is read in bounded memory, and nothing of it is trusted to be well-formed.
"""

import gzip
import io
import posixpath
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import IO, TypeVar

from cos_customizer.customizer.contents import kernel_line, texts
from cos_customizer.customizer.contents.inventory import Contents, Inventory
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.tar_members import ArchiveError, Limits, read_members

T = TypeVar("T")

VERSION = "1"
"""Of the archive's form."""
MOST_PACKED = 256 << 20
"""Bytes of an archive."""
LIMITS = Limits(header=8 << 10, members=100, names=64 << 10, unpacked=768 << 20, free=64 << 20, ratio=200)
_LONGEST_MEMBER = 192 << 20
_PIECE = 1 << 20
"""Bytes that are unpacked before it is looked whether they are too many."""
_MEMBERS = (
    *(
        "os-release",
        "packages.json",
        "dpkg",
        "rpm",
        "docker",
        "docker-repositories.json",
        "docker-layers",
        "containerd",
    ),
    *(
        "files",
        "digests",
        "units",
        "boot-menu",
        "cmdline",
        "partitions",
        "file-systems",
        "modules",
        "nvidia",
        "left-out",
    ),
)
_SIDES = ("before", "after")


def read_contents(stream: IO[bytes]) -> Contents:
    """Read contents as a builder VM sends them.

    Args:
        stream: the gzipped archive.

    Raises:
        CustomizerError: it is broken, has more in it than contents can have, or is of a form that is not known.
    """
    try:
        found = _members(stream)
    except (ArchiveError, OSError, EOFError, ValueError, zlib.error, struct.error) as error:
        raise CustomizerError(f"the recorded contents cannot be read: {error}") from error
    version = found.get("version", b"").decode(errors="replace").strip()
    if version != VERSION:
        raise CustomizerError(
            f"the recorded contents are of the form {version[:20]!r}, and this program reads {VERSION!r}",
            "a newer version of cos-customizer may have recorded them.",
        )
    before, after = (_inventory(found, side) for side in _SIDES)
    return Contents(before, after)


def empty_contents() -> bytes:
    """The archive of a machine that has nothing on its disk; the same bytes each time."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        text = VERSION.encode()
        member = tarfile.TarInfo("version")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    return gzip.compress(stream.getvalue(), mtime=0)


def _members(stream: IO[bytes]) -> dict[str, bytes]:
    wanted = {"version", *(f"{side}/{member}" for side in _SIDES for member in _MEMBERS)}
    found: dict[str, bytes] = {}
    with gzip.GzipFile(fileobj=stream, mode="rb") as unzipped:
        reader = _Bounded(unzipped, stream)
        for member in read_members(reader, LIMITS, wanted, _LONGEST_MEMBER):
            name = posixpath.normpath(member.name)
            if name not in wanted:
                continue
            if member.kind != "file" or name in found:
                raise ValueError(f"{name} is {'there twice' if name in found else f'a {member.kind}'}")
            if member.size > _LONGEST_MEMBER:
                raise ValueError(f"{name} has more than {_LONGEST_MEMBER >> 20} MiB")
            if len(member.content) != member.size:
                raise ValueError(f"{name} is not there whole")
            found[name] = member.content
        while reader.read(_PIECE):  # to the end, where the checksum is
            pass
    return found


class _Bounded:
    """Reads an archive only as far as it expands within its limits.

    Args:
        unzipped: What is read.
        packed: What that is read from.
    """

    def __init__(self, unzipped: gzip.GzipFile, packed: IO[bytes]) -> None:
        self._unzipped, self._packed = unzipped, packed
        self._size = 0

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self._unzipped.read(min(size, _PIECE))
        self._size += len(data)
        LIMITS.check_expansion(self._size, self._packed.tell())
        return data


class _Side:
    """The texts of one inventory."""

    def __init__(self, found: Mapping[str, bytes], side: str) -> None:
        self._found, self._side = found, side

    def raw(self, member: str) -> bytes:
        return self._found.get(f"{self._side}/{member}", b"")

    def text(self, member: str) -> str:
        return self.raw(member).decode(errors="replace")

    def read(self, what: Callable[..., T], *members: str) -> T:
        """What a function makes of these members' texts."""
        try:
            return what(*map(self.text, members))
        except (ValueError, RecursionError) as error:  # that of a JSON text nested too deep
            raise self.broken(members[0], error) from error

    def all(self, what: Callable[..., Iterable[T]], *members: str) -> list[T]:
        """What a function makes of these members' texts; nothing if all are empty."""
        return self.read(lambda *said: list(what(*said)), *members) if any(map(self.raw, members)) else []

    def broken(self, member: str, error: Exception) -> CustomizerError:
        return CustomizerError(f"the recorded contents cannot be read: {self._side}/{member}: {error}")


def _inventory(found: Mapping[str, bytes], name: str) -> Inventory:
    side = _Side(found, name)
    try:
        files, unread = texts.files(side.raw("files"), side.raw("digests"))
    except ValueError as error:
        raise side.broken("files", error) from error
    arguments = kernel_line.arguments_of(side.text("boot-menu"), side.text("cmdline").strip())
    packages = [
        *side.all(texts.cos_packages, "packages.json"),
        *side.all(texts.deb_packages, "dpkg"),
        *side.all(texts.rpm_packages, "rpm"),
    ]
    containers = [
        *side.all(texts.docker_images, "docker"),
        *side.all(texts.stored_docker_images, "docker-repositories.json", "docker-layers"),
        *side.all(texts.containerd_images, "containerd"),
    ]
    left_out = [line for line in side.text("left-out").splitlines() if line]
    if unread:
        left_out.append(f"digests of {unread:,} files")
    return Inventory(
        system=side.read(texts.system, "os-release"),
        packages=tuple(sorted(packages)),
        containers=tuple(sorted(containers)),
        files=files,
        units={**side.read(texts.units, "units"), **dict.fromkeys(kernel_line.masked_units(arguments), "masked")},
        kernel_arguments=arguments,
        partitions=tuple(sorted(side.all(texts.partitions, "partitions", "file-systems"))),
        verity=kernel_line.verity_of(arguments),
        modules=side.read(texts.modules, "modules", "nvidia"),
        left_out=tuple(left_out),
    )
