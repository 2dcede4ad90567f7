"""Files that are there as a whole or not at all, and directories that are their owner's alone."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def make_private(directory: Path, ours: Iterable[str]) -> None:
    """Make a directory that only its owner may look into, or close one that an earlier version has left open.

    A directory that holds other things than ours (a user may name any) keeps its mode; what is ours in it is closed.

    Args:
        directory: to be made, with those above it.
        ours: patterns of the names in it that are ours.

    Raises:
        OSError: it cannot be made.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    entries = list(directory.iterdir())
    own = {entry for pattern in ours for entry in directory.glob(pattern)}
    for path in ([directory] if own or not entries else []) + [
        below for entry in own for below in (entry, *(entry.rglob("*") if entry.is_dir() else ()))
    ]:
        with suppress(OSError):  # another user's, or gone meanwhile
            mode = path.lstat().st_mode
            if mode & 0o077 and not stat.S_ISLNK(mode) and not (path == directory and own != set(entries)):
                path.chmod(stat.S_IMODE(mode) & ~0o077)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file so that nobody sees half of it, whatever ends this process.

    Args:
        path: of the file, which may exist already.

    Yields:
        A path in the same directory to write to. It takes the file's place at the end of the block, or is removed if
        the block ends in an exception.
    """
    partial = path.with_name(f".{path.name[:100]}.{os.urandom(4).hex()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def reserving(directory: Path, size: int) -> Iterator[Callable[[], None]]:
    """Hold room on a disk during the block, for what must not fail later.

    Args:
        directory: where.
        size: how many bytes.

    Yields:
        Gives the room free.

    Raises:
        OSError: there is none.
    """
    with tempfile.TemporaryFile(dir=directory) as file:
        os.posix_fallocate(file.fileno(), 0, size)
        yield file.close
