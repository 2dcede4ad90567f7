"""The file that a state is saved in: a tar whose first member says what it is, and whose last one that it is whole.

Only plain files and hard links to members before them are in it. It is read in one pass, with bounded memory, and
nothing of it is believed: names are those of `NAMES`, sizes are counted, and the checksum of all stands at the end.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from cos_customizer.emulator.errors import EmulatorError

VERSION = 1
"""Of the format. A later one may say more; a reader takes its own and those before."""
NAMES = re.compile(
    r"state\.json|end\.json|[a-z]+(?:/[a-z]+)?\.jsonl|storage/contents/[0-9a-f]{32}|registry/blobs/sha256:[0-9a-f]{64}"
    r"|machines/[a-z]+/[a-z]+-[0-9]{1,20}\.(?:qcow2|base)"
)
"""What members may be called."""
_FIRST, _LAST = "state.json", "end.json"
_KIND = "cos-customizer emulator state"
_BLOCK = tarfile.BLOCKSIZE
_PIECE = 1 << 20
_LONGEST_LINE = 16 << 20
_MOST_MEMBERS = 1_000_000
_FOREIGN = "this is no state that `emulator save` has written"


class Reader(Protocol):
    """What an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""


def _broken(why: str) -> EmulatorError:
    return EmulatorError(f"the saved state is damaged: {why}", "take another copy of the file; nothing was changed")


class ArchiveWriter:
    """Writes a state.

    Args:
        file: where it goes.
        about: what the first member says besides kind and version.
    """

    def __init__(self, file: BinaryIO, about: dict[str, Any]) -> None:
        self._file = file
        self._sum = hashlib.sha256()
        self._inodes: dict[tuple[int, int], str] = {}
        self.add_json(_FIRST, {"kind": _KIND, "version": VERSION, **about})

    def add_json(self, name: str, content: object) -> None:
        """Add a member of one JSON value."""
        self._add_bytes(name, json.dumps(content).encode())

    def add_lines(self, name: str, values: Iterable[object]) -> None:
        """Add a member with a JSON value in each line."""
        self._add_bytes(name, b"".join(json.dumps(value).encode() + b"\n" for value in values))

    def add_file(self, name: str, path: Path) -> None:
        """Add a file; one that was added under another name is a link to that."""
        with path.open("rb") as file:
            about = path.stat()
            inode = (about.st_dev, about.st_ino)
            if first := self._inodes.get(inode):
                self._head(name, 0, link=first)
                return
            self._inodes[inode] = name
            self._head(name, about.st_size)
            left = about.st_size
            while left and (piece := file.read(min(_PIECE, left))):
                self._write(piece)
                left -= len(piece)
            if left:
                raise EmulatorError(f"{path} became shorter while it was read")
            self._pad(about.st_size)

    def end(self) -> None:
        """Add the last member."""
        self.add_json(_LAST, {"sha256": self._sum.hexdigest()})
        self._file.write(bytes(2 * _BLOCK))

    def _add_bytes(self, name: str, content: bytes) -> None:
        self._head(name, len(content))
        self._write(content)
        self._pad(len(content))

    def _head(self, name: str, size: int, link: str = "") -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        if link:
            info.type, info.linkname = tarfile.LNKTYPE, link
        self._write(info.tobuf(tarfile.GNU_FORMAT))

    def _pad(self, size: int) -> None:
        self._write(bytes(-size % _BLOCK))

    def _write(self, piece: bytes) -> None:
        self._sum.update(piece)
        self._file.write(piece)


@dataclass(frozen=True)
class Member:
    """A member that is being read; it has to be read before the next.

    Attributes:
        name: its name.
        link: the member before that it is another name of; empty for one with a content.
        size: bytes of its content.
        read: returns the next bytes of its content, at most so many.
    """

    name: str
    link: str
    size: int
    read: Callable[[int], bytes]

    def lines(self) -> Iterator[Any]:
        """Return the JSON values of its lines.

        Raises:
            EmulatorError: they are none.
        """
        rest = b""
        while piece := self.read(_PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                raise _broken(f"a line of {self.name} is too long")
            yield from (self._value(line) for line in lines)
        if rest:
            raise _broken(f"the last line of {self.name} has no end")

    def value(self) -> Any:
        """Return the JSON value that it is."""
        if self.size > _LONGEST_LINE:
            raise _broken(f"{self.name} is too long")
        return self._value(self.read_all())

    def read_all(self) -> bytes:
        """Return its content."""
        return b"".join(iter(lambda: self.read(_PIECE), b""))

    def write_to(self, path: Path) -> None:
        """Write its content to a file."""
        with path.open("xb") as file:
            while piece := self.read(_PIECE):
                file.write(piece)

    def _value(self, text: bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise _broken(f"{self.name} is no JSON") from None


class ArchiveReader:
    """Reads a state.

    Args:
        source: has it.

    Attributes:
        about: what its first member says.

    Raises:
        EmulatorError: it is foreign, or of a later version.
    """

    def __init__(self, source: Reader) -> None:
        self._source = source
        self._sum = hashlib.sha256()
        self._left = self._padding = 0
        try:
            first = self._next_head()
            about = first.value() if first is not None and first.name == _FIRST else None
        except EmulatorError:
            about = None
        if not isinstance(about, dict) or about.get("kind") != _KIND:
            raise EmulatorError(_FOREIGN, "`emulator load` takes the files of `emulator save`; disks: `import-image`")
        version = about.get("version")
        if not isinstance(version, int) or not 0 < version <= VERSION:
            raise EmulatorError(
                f"the state was saved by a later version (format {str(version)[:20]}; this one reads {VERSION})",
                "update this program",
            )
        self.about: dict[str, Any] = about

    def members(self) -> Iterator[Member]:
        """Return the members but for the first and the last; each must be read before the next is asked for.

        Raises:
            EmulatorError: the archive is damaged, which may show at its end only.
        """
        names = {_FIRST}
        for _ in range(_MOST_MEMBERS):
            self._skip_padding()
            found = self._sum.hexdigest()  # of all before the head that comes
            member = self._next_head()
            if member is None:
                break
            if member.name in names:
                raise _broken(f"{member.name} is in it twice")
            if member.name == _LAST:
                self._check_end(member, found)
                return
            if member.link and (member.link not in names or member.size):
                raise _broken(f"{member.name} is a link to nothing")
            names.add(member.name)
            yield member
            if self._left:
                raise _broken(f"{member.name} is longer than what is in it")
        raise _broken("its end is missing")

    def _check_end(self, member: Member, found: str) -> None:
        value = member.value()
        if not isinstance(value, dict) or value.get("sha256") != found:
            raise _broken("its checksum is another one")

    def _next_head(self) -> Member | None:
        self._skip_padding()
        block = self._exactly(_BLOCK)
        if block == bytes(_BLOCK):
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, ValueError):
            raise _broken("there is something else where a member should begin") from None
        if not NAMES.fullmatch(info.name) or info.type not in (tarfile.REGTYPE, tarfile.LNKTYPE) or info.size < 0:
            raise _broken(f"{info.name[:100]!r} has no place in it")
        self._left, self._padding = info.size, -info.size % _BLOCK
        return Member(info.name, info.linkname if info.type == tarfile.LNKTYPE else "", info.size, self._read)

    def _read(self, size: int) -> bytes:
        if not self._left:
            return b""
        piece = self._source.read(min(size, self._left))
        if not piece:
            raise _broken("it ends early")
        self._left -= len(piece)
        self._sum.update(piece)
        return piece

    def _skip_padding(self) -> None:
        self._exactly(self._padding)
        self._padding = 0

    def _exactly(self, size: int) -> bytes:
        self._left = size
        return b"".join(iter(lambda: self._read(size), b""))
