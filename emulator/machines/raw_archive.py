"""The archive that a disk is carried in to and from Compute Engine: a gzipped tar of one sparse file, `disk.raw`.

https://cloud.google.com/compute/docs/import/import-existing-image#prepare_a_disk_image_for_import
"""

import gzip
import hashlib
import subprocess
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.files import replacing
from cos_customizer.emulator.machines.host import last_lines

MEMBER = "disk.raw"
_GIB = 1 << 30
_MOST_GIB = 65536
_PIECE = 1 << 20
_BLOCK = 1 << 16
"""Blocks of nothing but zeros become holes."""
_ZEROS = bytes(_BLOCK)
_GNU_MAGIC = b"ustar  \0"
_MAGIC_AT = 257
_FORMATS = "The tar archive format is not supported. Supported formats are: GNU and OLDGNU."
_NO_IMAGE = "The tar archive is not a valid image."


class NoImageError(EmulatorError):
    """What was given is no archive of a disk, in the words of Compute Engine."""


class Reader(Protocol):
    """What an archive is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes, none at the end."""
        ...


@dataclass(frozen=True)
class Imported:
    """What an archive held.

    Attributes:
        size_gb: of the disk, in GiB.
        archive_bytes: length of the archive.
        sha1: of the archive, as hexadecimal digits.
    """

    size_gb: int
    archive_bytes: int
    sha1: str


class _Measured:
    """Counts and sums what is read through it."""

    def __init__(self, source: Reader) -> None:
        self._source = source
        self._sum = hashlib.sha1(usedforsecurity=False)
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._source.read(size)
        self._sum.update(piece)
        self.count += len(piece)
        return piece

    def rest(self) -> str:
        """Read to the end; returns the checksum of all."""
        while self.read(_PIECE):
            pass
        return self._sum.hexdigest()


class _Pushed:
    """A file whose first bytes were read before."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head = head
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if self._head:
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        return self._file.read(size)


def unpack(source: Reader, target: Path | None) -> Imported:
    """Read an archive piece by piece, and write the disk in it.

    Args:
        source: the archive.
        target: a file to be made, sparse; None only checks the archive.

    Raises:
        NoImageError: it is not what Compute Engine takes.
    """
    measured = _Measured(source)
    try:
        with gzip.GzipFile(fileobj=cast("IO[bytes]", measured), mode="rb") as unzipped:
            head = unzipped.read(tarfile.BLOCKSIZE)
            if head[_MAGIC_AT : _MAGIC_AT + len(_GNU_MAGIC)] != _GNU_MAGIC:
                raise NoImageError(_FORMATS if head[_MAGIC_AT:].startswith(b"ustar") else _NO_IMAGE)
            pushed = _Pushed(head, cast("IO[bytes]", unzipped))
            with tarfile.open(fileobj=cast("IO[bytes]", pushed), mode="r|", bufsize=_PIECE) as archive:
                size_gb = _take(archive, target)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile):
        raise NoImageError(_NO_IMAGE) from None
    sha1 = measured.rest()
    return Imported(size_gb, measured.count, sha1)


def _take(archive: tarfile.TarFile, target: Path | None) -> int:
    """Write the archive's only member, as a disk of whole GiB; returns its size in GiB.

    The documents ask for a multiple of 1 GiB. Compute Engine takes others, too, and rounds up: the original's Daisy
    workflow makes an image of a FAT file system of 64 MiB.
    """
    member = archive.next()
    if member is None:
        raise NoImageError(_NO_IMAGE)
    if member.name.removeprefix("./") != MEMBER:
        raise NoImageError(
            f"The file inside the tar archive was named ''{member.name}''. It should be named ''{MEMBER}''."
        )
    content = archive.extractfile(member)
    if not member.isreg() or content is None:
        raise NoImageError(_NO_IMAGE)
    size_gb = -(-member.size // _GIB)
    if not size_gb:
        raise NoImageError(_NO_IMAGE)
    if size_gb > _MOST_GIB:
        raise NoImageError(f"The size of {MEMBER} must be at most {_MOST_GIB} GB.")
    if target is None:
        while content.read(_PIECE):
            pass
    else:
        with target.open("wb") as file:
            while piece := content.read(_PIECE):
                write_sparse(file, piece)
            file.truncate(size_gb * _GIB)
    if archive.next() is not None:
        raise NoImageError(f"The tar archive must hold {MEMBER} alone.")
    return size_gb


def write_sparse(file: IO[bytes], piece: bytes) -> None:
    """Write a piece where a file stands, with holes in place of zeros; the file has to be cut to size in the end."""
    for at in range(0, len(piece), _BLOCK):
        block = piece[at : at + _BLOCK]
        if block == _ZEROS[: len(block)]:
            file.seek(len(block), 1)
        else:
            file.write(block)


def pack(directory: Path, archive: Path) -> None:
    """Make an archive as Compute Engine's export does: GNU's old format, with holes, gzipped.

    Args:
        directory: holds `disk.raw`.
        archive: the file to be made.

    Raises:
        EmulatorError: tar failed.
    """
    with replacing(archive) as partial:
        command = (
            "tar",
            "--format=oldgnu",
            "-S",
            "-c",
            "--owner=0",
            "--group=0",
            "-C",
            str(directory),
            "-I",
            "gzip -1",
        )
        done = subprocess.run([*command, "-f", str(partial), MEMBER], capture_output=True, text=True, check=False)
        if done.returncode:
            raise EmulatorError(f"tar failed: {last_lines(done.stderr)}")
