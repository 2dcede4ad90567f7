"""The build context: the files that scripts run among, as one archive."""

import gzip
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cos_customizer.customizer.errors import UsageError

_EPOCH = 315532800
"""Modification time of every archived file (1980-01-01): a digest that depends on content alone."""


@dataclass(frozen=True)
class ContextArchive:
    """What was archived.

    Attributes:
        sha256: digest of the uncompressed tar stream; equal contents, names and modes give equal digests.
        scripts: paths of all regular files and symbolic links, sorted.
        size: bytes of all files together.
    """

    sha256: str
    scripts: tuple[str, ...]
    size: int


class _HashingWriter:
    """Passes the tar stream on and takes its digest, so that nothing is read twice."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._target.write(data)


def archive_context(source: Path, destination: Path, exclude: Path | None = None) -> ContextArchive:
    """Archive a build context as a gzipped tar file.

    Hidden files, symbolic links, modes and empty directories are kept; owners and times are not. Memory use does not
    depend on the context's size.

    Args:
        source: a directory, whose contents become the root of the archive, or a single file.
        destination: the file to write; its directory exists.
        exclude: a directory to leave out if it lies in `source` (the local state).

    Raises:
        UsageError: `source` is not there, cannot be read, or holds something that is neither file, directory nor
            symbolic link.
    """
    if not source.exists():
        raise UsageError(
            f"-build-context: {str(source)!r} does not exist",
            f"paths are relative to the working directory, {str(Path.cwd())!r}.",
        )
    left_out = {destination.resolve()} | ({exclude.resolve()} if exclude else set())
    scripts: list[str] = []
    size = 0
    try:
        with destination.open("wb") as file, gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as zipped:
            writer = _HashingWriter(zipped)  # type: ignore[arg-type]
            with tarfile.open(fileobj=writer, mode="w|", format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]
                for path, name in _walk(source, left_out):
                    member = _member(path, name)
                    if member.isreg():
                        with path.open("rb") as content:
                            tar.addfile(member, content)
                        size += member.size
                    else:
                        tar.addfile(member)
                    if not member.isdir():
                        scripts.append(name)
    except (OSError, tarfile.TarError) as error:
        destination.unlink(missing_ok=True)
        raise UsageError(f"-build-context: cannot archive {str(source)!r}: {error}") from error
    except BaseException:
        destination.unlink(missing_ok=True)
        raise
    return ContextArchive(writer.digest.hexdigest(), tuple(sorted(scripts)), size)


def _walk(source: Path, left_out: set[Path]) -> Iterator[tuple[Path, str]]:
    """Paths below `source` with their names in the archive, each directory before its contents, in a fixed order."""
    if not source.is_dir():
        yield source, source.name
        return

    def entries(directory: Path, prefix: str) -> Iterator[tuple[Path, str]]:
        with os.scandir(directory) as scan:
            found = sorted(scan, key=lambda entry: entry.name)
        for entry in found:
            path, name = directory / entry.name, f"{prefix}{entry.name}"
            if path.absolute() in left_out or (not entry.is_symlink() and path.resolve() in left_out):
                continue
            yield path, name
            if entry.is_dir(follow_symlinks=False):
                yield from entries(path, f"{name}/")

    yield from entries(source, "")


def _member(path: Path, name: str) -> tarfile.TarInfo:
    # Not TarFile.gettarinfo: it makes links of files that share an inode, and takes owners and times over.
    status = path.lstat() if path.is_symlink() else path.stat()
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(status.st_mode)
    member.mtime = _EPOCH
    if stat.S_ISREG(status.st_mode):
        member.size = status.st_size
    elif stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        member.type = tarfile.SYMTYPE
        member.mode = 0o777
        member.linkname = str(path.readlink())
    else:
        raise UsageError(
            f"-build-context: {str(path)!r} is neither a file, a directory nor a symbolic link",
            "remove it from the build context, or choose a context without it.",
        )
    return member
