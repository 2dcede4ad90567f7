"""What is in a tar stream that anybody may have made: read in bounded memory, whatever its headers claim.

`tarfile` keeps a long name or a list of extended attributes in memory whole, however long it is said to be, seeks
through members that are not there, and lets errors of its own arithmetic out. So it only decodes single headers here
(`TarInfo.frombuf`), and what lies between them is counted, never kept.

Source of the format: https://www.gnu.org/software/tar/manual/html_node/Standard.html and
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13.
"""

import posixpath
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 256 << 10
"""Bytes that are read at once."""
_LONG_NAME, _LONG_LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_GLOBAL = tarfile.XGLTYPE
_MORE_PIECES_AT, _STILL_MORE_AT, _UNPACKED_AT = 482, 504, slice(483, 495)
"""Of a sparse file: where its header, and each that goes on with it, says that another one does; its size unpacked."""


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end."""


@dataclass(frozen=True)
class Limits:
    """What an archive may have, so that looking through it takes bounded memory and time.

    Attributes:
        header: bytes of one member's long name, or of its extended attributes.
        members: how many there may be.
        names: bytes of all names together.
        unpacked: bytes of the whole stream.
        free: bytes of the stream up to which it may be compressed however well.
        ratio: times that a longer stream may be as long as it is compressed.
    """

    header: int = 64 << 10
    members: int = 1_000_000
    names: int = 128 << 20
    unpacked: int = 64 << 30
    free: int = 8 << 30
    ratio: int = 100

    def check_expansion(self, unpacked: int, packed: int) -> None:
        """Refuse a stream that is too long, by itself or for what it is compressed to.

        Args:
            unpacked: bytes of the stream so far.
            packed: bytes that they were compressed to.

        Raises:
            ArchiveLimitError: it is.
        """
        if unpacked > self.unpacked:
            raise ArchiveLimitError(f"it unpacks to more than {_size(self.unpacked)}")
        if unpacked > self.free and unpacked > self.ratio * packed:
            raise ArchiveLimitError(
                f"it unpacks to more than {_size(self.free)}, and to more than {self.ratio} times its own size"
            )

    def check_members(self, count: int, names: int) -> None:
        """Refuse a stream that has too many members, or too much of names.

        Args:
            count: members so far.
            names: bytes of their names.

        Raises:
            ArchiveLimitError: it has.
        """
        if count > self.members:
            raise ArchiveLimitError(f"it has more than {self.members:,} members")
        if names > self.names:
            raise ArchiveLimitError(f"the names of its members have more than {_size(self.names)}")


LIMITS = Limits()


class ArchiveError(Exception):
    """A tar stream is not one, is damaged, or has more in it than it may have."""


class ArchiveLimitError(ArchiveError):
    """A tar stream has more in it than it may have."""


@dataclass(frozen=True)
class TarMember:
    """A member of an archive.

    Attributes:
        name: its path, as it is stored.
        link: what a link leads to; empty for anything else.
        size: bytes that a file has when it is unpacked.
        kind: `file`, `directory`, `symbolic link`, `hard link` or `other`.
        content: the first bytes of a file that was asked for by its name; else none.
    """

    name: str
    link: str
    size: int
    kind: str
    content: bytes = b""


def read_members(
    stream: Readable, limits: Limits = LIMITS, wanted: Collection[str] = (), most: int = 0
) -> Iterator[TarMember]:
    """The members of a tar stream, up to its end marker or its end between two members.

    Args:
        stream: uncompressed; read in pieces, each only once.
        limits: what it may have.
        wanted: normalized names of files whose content is given, too; not that of a sparse file.
        most: bytes of it.

    Raises:
        ArchiveError: it is not a tar stream, is damaged or cut off, or goes past a limit.
    """
    count = names = 0
    following: dict[str, str] = {}
    """What extended headers say of all members after them."""
    own: dict[str, str] = {}
    """What the headers before a member say of it alone."""
    while (header := _header(stream, first=not count)) is not None:
        count += 1
        limits.check_members(count, names)
        if header.size < 0:
            raise ArchiveError(f"member {header.name!r} has a negative size")
        if header.type in (_LONG_NAME, _LONG_LINK, _GLOBAL, *_EXTENDED):
            content = _small_content(stream, header.size, limits)
            if header.type == _LONG_NAME:
                own["path"] = _text(content)
            elif header.type == _LONG_LINK:
                own["linkpath"] = _text(content)
            else:
                (following if header.type == _GLOBAL else own).update(_attributes(content))
            continue
        said, own = {**following, **own}, {}
        member, stored = _member(header, said)
        names += len(member.name) + len(member.link)
        if max(stored, member.size) > limits.unpacked:
            raise ArchiveLimitError(f"member {member.name!r} is said to have more than {_size(limits.unpacked)}")
        _skip_sparse_headers(stream, header.more_pieces, limits)
        ahead = b""
        if member.kind == "file" and stored == member.size and posixpath.normpath(member.name) in wanted:
            ahead = _read(stream, min(stored, most))
            member = replace(member, content=ahead)
        yield member
        _skip(stream, _padded(stored) - len(ahead), member.name)
    if own:
        raise ArchiveError("it ends after a header that is about a member")


class _Header(tarfile.TarInfo):
    """A header, with what `tarfile` keeps to itself of a sparse file's."""

    more_pieces = False
    unpacked: int | None = None


def _header(stream: Readable, first: bool) -> _Header | None:
    """The next header; None at the end."""
    block = _read(stream, _BLOCK)
    if not block and not first:
        return None
    if len(block) < _BLOCK:
        raise ArchiveError("it is empty" if not block else "it ends within a header")
    try:
        header = _Header.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # a block of zeros: the end
        return None
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError) as error:
        raise ArchiveError(f"a header of it is none: {error}") from None
    if header.type == tarfile.GNUTYPE_SPARSE:
        header.more_pieces = bool(block[_MORE_PIECES_AT])
        header.unpacked = _header_number(block[_UNPACKED_AT])
    return header


def _member(header: _Header, said: dict[str, str]) -> tuple[TarMember, int]:
    """A member, and the bytes of its content that follow its header."""
    size = _number(said["size"]) if "size" in said else header.size
    name = said.get("GNU.sparse.name", said.get("path", header.name))
    link = said.get("linkpath", header.linkname) if header.issym() or header.islnk() else ""
    if "\0" in name or "\0" in link:
        raise ArchiveError(f"the name {name!r} has a NUL in it")
    if header.isdir():
        kind = "directory"
    elif header.issym():
        kind = "symbolic link"
    elif header.islnk():
        kind = "hard link"
    else:
        kind = "file" if header.isreg() else "other"
    stored = size if kind in ("file", "other") else 0
    real = said.get("GNU.sparse.realsize", said.get("GNU.sparse.size"))
    unpacked = _number(real) if real is not None else size if header.unpacked is None else header.unpacked
    return TarMember(name.rstrip("/") or name, link, unpacked if kind == "file" else 0, kind), stored


def _small_content(stream: Readable, size: int, limits: Limits) -> bytes:
    if size > limits.header:
        raise ArchiveLimitError(f"a header of it is said to have more than {_size(limits.header)}")
    content = _read(stream, _padded(size))
    if len(content) < _padded(size):
        raise ArchiveError("it ends within a header")
    return content[:size]


def _attributes(content: bytes) -> dict[str, str]:
    """The records of an extended header, as far as they say something of a member's place and size.

    Each is `LENGTH KEY=VALUE` and a line's end, its length that of all of it.
    """
    found: dict[str, str] = {}
    rest = content
    while rest.strip(b"\0"):
        digits, space, _ = rest[:8].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = rest[len(digits) + 1 : length]
        key, equals, value = record[:-1].partition(b"=")
        if not equals or length > len(rest) or record[-1:] != b"\n":
            raise ArchiveError("an extended header of it is damaged")
        if key in (b"path", b"linkpath", b"size") or key.startswith(b"GNU.sparse."):
            found[_text(key)] = value.decode("utf-8", "surrogateescape")
        rest = rest[length:]
    # The list of a sparse file's pieces is of no use here, and the only part that may be long.
    return {key: value for key, value in found.items() if key not in ("GNU.sparse.map", "GNU.sparse.numblocks")}


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 20:
        raise ArchiveError(f"a size in an extended header of it is none: {text[:40]!r}")
    return int(text)


def _header_number(digits: bytes) -> int:
    """A number as headers have it: octal digits, or bytes behind one of 0x80."""
    if digits[0] & 0x80:
        return int.from_bytes(bytes([digits[0] & 0x7F]) + digits[1:])
    text = digits.partition(b"\0")[0].strip()
    if text and not (text.isdigit() and b"8" not in text and b"9" not in text):
        raise ArchiveError("the size of a sparse file in it is no number")
    return int(text or b"0", 8)


def _skip_sparse_headers(stream: Readable, further: bool, limits: Limits) -> None:
    """Pass over the headers that list more pieces of a sparse file."""
    count = 0
    while further:
        count += 1
        if count * _BLOCK > limits.header * 16:
            raise ArchiveLimitError("a sparse file in it has too many pieces")
        block = _read(stream, _BLOCK)
        if len(block) < _BLOCK:
            raise ArchiveError("it ends within a header")
        further = bool(block[_STILL_MORE_AT])


def _skip(stream: Readable, size: int, name: str) -> None:
    while size:
        data = stream.read(min(size, _CHUNK))
        if not data:
            raise ArchiveError(f"it ends within member {name!r}")
        size -= len(data)


def _read(stream: Readable, size: int) -> bytes:
    """So many bytes, or fewer at the end."""
    pieces = []
    while size:
        data = stream.read(size)
        if not data:
            break
        pieces.append(data)
        size -= len(data)
    return b"".join(pieces)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _text(content: bytes) -> str:
    return content.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _size(size: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"
