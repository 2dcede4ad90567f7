"""Files that are there as a whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
