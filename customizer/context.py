"""The build context: the files that scripts run among, as one archive."""

import errno
import gzip
import hashlib
import os
import posixpath
import stat
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.ignore_rules import IgnoreRules
from cos_customizer.customizer.spelling import quoted
from cos_customizer.customizer.tar_members import (
    LIMITS,
    ArchiveError,
    ArchiveLimitError,
    Limits,
    TarMember,
    read_members,
)
from cos_customizer.customizer.tar_writer import TarWriter

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz")
"""What the name of a file ends with that is a build context's archive, and not a file to archive."""

_BLOCK = 256 << 10
"""Bytes of an archive that are read at once."""

_LONGEST_CHAIN = 8
"""Links that are followed from one to the next."""

_PATH = FieldPath("context.path")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a file system that takes no more: it is full, or the user's share is, or the file is too large."""
_UNFIT = (OSError, tarfile.TarError, ArchiveLimitError, ValueError, RuntimeError)
"""What comes of a context that cannot be archived: of a NUL in its path too, of links in a circle."""
_TOO_MUCH = "large files are better fetched by a script, from Cloud Storage for example."


@dataclass(frozen=True)
class ContextArchive:
    """What is in the archive of a build context.

    Attributes:
        sha256: digest of the uncompressed tar stream; equal contents and names give equal digests.
        files: paths of all regular files and symbolic links, sorted.
        size: bytes of all files together.
    """

    sha256: str
    files: tuple[str, ...]
    size: int


class _HashingReader:
    """Passes a tar stream on, takes its digest, and ends where it expands too far."""

    def __init__(self, source: gzip.GzipFile, packed: BinaryIO, limits: Limits) -> None:
        self._source, self._packed, self._limits = source, packed, limits
        self._unpacked = 0
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        self._unpacked += len(data)
        self._limits.check_expansion(self._unpacked, self._packed.tell())
        return data


def archive_context(
    source: Path, destination: Path, exclude: Path | None = None, limits: Limits = LIMITS
) -> ContextArchive:
    """Archive a build context as a gzipped tar file.

    Hidden files, symbolic links and empty directories are kept. Of modes only what Git keeps is: whether a file may be
    executed; owners and times are not. What the context's ignore rules name is left out, with a directory that they
    leave empty. So copies of one commit have one digest, wherever and by whomever they are checked out. Memory use does
    not depend on the size of the files.

    Args:
        source: a directory, whose contents become the root of the archive, or a single file; a symbolic link stands for
            what it points to.
        destination: the file to write; its directory exists. It is left out if it lies in `source`.
        exclude: a directory to leave out if it lies in `source` (the local state).
        limits: what it may have: those that it is held to when it is read.

    Raises:
        UsageError: `source` is not there, cannot be read, is too large, or holds something that is neither file,
            directory nor symbolic link; or an ignore file includes one that is not there. Nothing is left of
            `destination`.
        CustomizerError: there is no room for `destination`, of which nothing is left either.
    """
    files: list[str] = []
    size = 0
    try:
        _check_exists(source)
        with destination.open("wb") as file:
            left_out = {_identity(os.fstat(file.fileno()))}
            if exclude is not None and exclude.exists():
                left_out.add(_identity(exclude.stat()))
            # Not a GzipFile: since Python 3.12 it keeps what a full disk did not take, and complains of it once more.
            writer = TarWriter(file)
            for path, name, status in _walk(source, left_out):
                if stat.S_ISREG(status.st_mode):
                    limits.check_expansion(size + status.st_size, size + status.st_size)
                    size += writer.add_file(name, path, _mode(status))
                else:
                    _add_other(writer, path, name, status)
                limits.check_expansion(writer.written, file.tell())
                limits.check_members(len(files), 0)
                if not stat.S_ISDIR(status.st_mode):
                    files.append(name)
            writer.finish()
    except BaseException as error:
        with suppress(OSError):
            destination.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            place = quoted(str(destination.parent))
            raise CustomizerError(
                f"there is no room for the build context's archive in {place}: {_reason(error)}",
                "make room there. TMPDIR names the place of temporary files, HOME that of the local state.",
            ) from error
        if isinstance(error, _UNFIT):
            raise _cannot_archive(source, error) from error
        raise
    return ContextArchive(writer.digest.hexdigest(), tuple(sorted(files)), size)


def files_in(source: Path) -> tuple[str, ...]:
    """The paths of the files that an archive of a build context would have, without making one.

    Args:
        source: as `archive_context` takes it.

    Raises:
        UsageError: it is not there, or cannot be read.
    """
    try:
        _check_exists(source)
        return tuple(sorted(name for _, name, status in _walk(source, set()) if not stat.S_ISDIR(status.st_mode)))
    except _UNFIT as error:
        raise _cannot_archive(source, error) from error


def _cannot_archive(source: Path, error: Exception) -> UsageError:
    message = Message("{}: cannot archive {}: {}", _PATH, quoted(str(source)), _reason(error))
    return UsageError(message, _TOO_MUCH if isinstance(error, ArchiveLimitError) else "")


def _check_exists(source: Path) -> None:
    try:
        source.stat()
    except FileNotFoundError as error:
        if source.is_symlink():
            raise UsageError(
                Message("{}: {} is a symbolic link to what does not exist", _PATH, quoted(str(source)))
            ) from error
        raise UsageError(
            Message("{}: {} does not exist", _PATH, quoted(str(source))),
            f"paths are relative to the working directory, {quoted(str(Path.cwd()))}.",
        ) from error


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{quoted(str(error.filename))}: {error.strerror}" if error.filename else error.strerror


def _identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from any other, by whatever path it is reached."""
    return status.st_dev, status.st_ino


_Entry = tuple[str, str, os.stat_result]
"""A path, its name in the archive, and what it is."""


def _walk(source: Path, left_out: set[tuple[int, int]]) -> Iterator[_Entry]:
    """What is below `source`, each directory before its contents, in a fixed order.

    A directory comes when the first of its contents does, or if it is empty: not if all of it is left out.
    """
    if not source.is_dir():
        yield str(source), source.name, source.stat()
        return
    rules = IgnoreRules(source)
    waiting = _entries(str(source), "")
    above: list[_Entry] = []  # directories of which nothing has come yet
    while waiting:
        entry, name = waiting.pop()
        status = entry.stat(follow_symlinks=False)
        is_directory = stat.S_ISDIR(status.st_mode)
        while above and not name.startswith(f"{above[-1][1]}/"):
            above.pop()
        if _identity(status) in left_out or rules.leave_out(name, is_directory):
            continue
        if not is_directory and not above:  # nearly always
            yield entry.path, name, status
            continue
        contents = _entries(entry.path, f"{name}/") if is_directory else []
        above.append((entry.path, name, status))
        if not contents:
            yield from above
            above.clear()
        waiting += contents


def _entries(directory: str, prefix: str) -> list[tuple[os.DirEntry[str], str]]:
    """What a directory holds, the last first; in the order of bytes, which no locale changes."""
    with os.scandir(directory) as entries:
        found = sorted(entries, key=lambda entry: os.fsencode(entry.name), reverse=True)
    return [(entry, prefix + entry.name) for entry in found]


def _mode(status: os.stat_result) -> int:
    """As Git has it: the rest is a matter of the umask, and a setuid bit would be root's on the builder VM."""
    return 0o755 if status.st_mode & stat.S_IXUSR else 0o644


def _add_other(writer: TarWriter, path: str, name: str, status: os.stat_result) -> None:
    """Add what is no regular file."""
    if stat.S_ISDIR(status.st_mode):
        writer.add(name, tarfile.DIRTYPE, 0o755)
    elif stat.S_ISLNK(status.st_mode):
        writer.add(name, tarfile.SYMTYPE, 0o777, str(Path(path).readlink()))
    else:
        raise UsageError(
            Message("{}: {} is neither a file, a directory nor a symbolic link", _PATH, quoted(path)),
            "remove it from the build context, or choose a context without it.",
        )


def read_archive(archive: Path, name: str, limits: Limits = LIMITS) -> ContextArchive:
    """Find out what is in the archive of a build context, in bounded memory and time, whatever bytes it is made of.

    Memory use depends on the names in it alone, and these are limited.

    Args:
        archive: a gzipped tar file, whose root is that of the context.
        name: what to call it in messages: its path or URL.
        limits: what it may have.

    Raises:
        UsageError: it is not one, is damaged, has more in it than it may have, or has a member that the builder VM
            would not unpack inside of the context.
    """
    files: set[str] = set()
    size = 0
    try:
        with archive.open("rb") as file, gzip.GzipFile(fileobj=file, mode="rb") as unzipped:
            reader = _HashingReader(unzipped, file, limits)
            for member in read_members(reader, limits):
                _check_member(member, name)
                if member.kind != "directory":
                    files.add(posixpath.normpath(member.name))
                size += member.size
            while reader.read(_BLOCK):  # the digest is that of the whole stream, padding included
                pass
    except OSError as error:
        if error.errno is None:  # gzip's own
            raise _unsound(name, error) from error
        raise UsageError(f"cannot read build context {name}: {error.strerror}") from error
    except (ArchiveError, EOFError, ValueError, zlib.error, struct.error) as error:
        raise _unsound(name, error) from error
    return ContextArchive(reader.digest.hexdigest(), tuple(sorted(files)), size)


def read_files(archive: Path, names: Iterable[str], most: int, stop: int | None = None) -> dict[str, bytes]:
    """The beginnings of some files of a build context, as far as its archive gives them.

    Args:
        archive: of `archive_context`, or one that `read_archive` has found sound.
        names: normalized paths of files in it; of a symbolic link the content is that of what it leads to.
        most: bytes of each.
        stop: bytes of the unpacked archive after which to look no further.

    Returns:
        Contents by those names; of what was not found, or cannot be read, none.
    """
    found: dict[str, bytes] = {}
    wanted = {name: name for name in names}
    """What to look for, by the name that was asked for."""
    for _ in range(_LONGEST_CHAIN):
        links: dict[str, str] = {}
        with suppress(OSError, ArchiveError, EOFError, ValueError, zlib.error, struct.error):
            for member in _members_of(archive, set(wanted.values()), most, stop):
                name = posixpath.normpath(member.name)
                for asked in [asked for asked, place in wanted.items() if place == name]:
                    if member.kind == "file" and (member.content or not member.size):
                        found[asked] = member.content
                    elif member.kind == "symbolic link":
                        links[asked] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.link))
                    elif member.kind == "hard link":
                        links[asked] = posixpath.normpath(member.link)
                if all(asked in found or asked in links for asked in wanted):
                    break
        wanted = links
        if not wanted:
            break
    return found


def _members_of(archive: Path, wanted: set[str], most: int, stop: int | None) -> Iterator[TarMember]:
    with archive.open("rb") as file, gzip.GzipFile(fileobj=file, mode="rb") as unzipped:
        for member in read_members(unzipped, LIMITS, wanted, most):
            yield member
            if stop is not None and unzipped.tell() + member.size > stop:
                return


def _unsound(name: str, error: Exception) -> UsageError:
    if isinstance(error, ArchiveLimitError):
        return UsageError(f"build context {name} is more than a build context can be: {error}", _TOO_MUCH)
    return UsageError(
        f"build context {name} is not a gzipped tar archive, or is damaged: {error}",
        "`tar -czf context.tar.gz -C DIRECTORY .` makes one.",
    )


def _check_member(member: TarMember, name: str) -> None:
    """Refuse what GNU tar on the builder VM refuses, or would put elsewhere; and what no directory may hold either."""
    inside = [member.name, member.link] if member.kind == "hard link" else [member.name]
    if any(path.startswith("/") or ".." in path.split("/") for path in inside):
        raise UsageError(
            f"build context {name} has a member that leads out of it: {inside[-1]!r}",
            "names in the archive are relative to the context's root: `tar -czf context.tar.gz -C DIRECTORY .`",
        )
    if member.kind == "other":
        raise UsageError(f"build context {name}: {member.name!r} is neither a file, a directory nor a link")
