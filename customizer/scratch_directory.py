"""A temporary directory that goes when its user ends; what a user that was killed has left goes with the next one."""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path
from types import TracebackType

from cos_customizer.customizer.errors import CustomizerError

_YOUNG = 60.0
"""Seconds in which a directory may have been made and is not locked yet."""


class ScratchDirectory:
    """A new directory below TMPDIR, locked as long as this process has it.

    Attributes:
        PREFIX: of its name, which nobody gives a directory that is to stay: a clone in /tmp may well be called
            `cos-customizer-original`.
        path: where it is.

    Raises:
        CustomizerError: it cannot be made.
    """

    PREFIX = "cos-customizer-scratch-"

    def __init__(self) -> None:
        try:
            _collect(Path(tempfile.gettempdir()))
            self.path = Path(tempfile.mkdtemp(prefix=self.PREFIX))
        except OSError as error:
            raise CustomizerError(
                f"cannot make a temporary directory: {error.strerror or error}", "TMPDIR names a place with some room."
            ) from error
        self._lock: int | None = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove it, with all that is in it. May be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


_OURS = re.compile(rf"{ScratchDirectory.PREFIX}[a-z0-9_]{{8}}")


def _collect(place: Path) -> None:
    """Remove directories of this kind that are this user's and in nobody's use."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(place):
            if _OURS.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    _remove_if_left(entry)


def _remove_if_left(entry: "os.DirEntry[str]") -> None:
    status = entry.stat(follow_symlinks=False)
    private = status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == stat.S_IRWXU
    if not private or status.st_mtime > time.time() - _YOUNG:
        return
    descriptor = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(descriptor)
