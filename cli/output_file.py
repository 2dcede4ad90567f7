"""`-output-file`: what came of the build, for programs."""

import contextlib
import errno
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cos_customizer.cli.flag_kinds import PathFlag
from cos_customizer.cli.state import write_atomically
from cos_customizer.customizer.errors import CustomizerError, UsageError

if TYPE_CHECKING:
    from cos_customizer.customizer.reporting.result import BuildResult

OUTPUT_FILE_FLAG = PathFlag(
    "output-file",
    "Write what came of the build to this file as JSON: output image, source image, build id, steps, durations.",
    value="FILE",
    example="-output-file=build.json",
)


@dataclass(frozen=True)
class OutputFile:
    """Where the result goes, if anywhere.

    Attributes:
        path: the file; None: nowhere.
    """

    path: Path | None

    @classmethod
    def checked(cls, name: str | None) -> "OutputFile":
        """The file of this name, which can be written: an hour's build must not end in an answer that goes nowhere.

        Args:
            name: as given on the command line; empty or None for none.

        Raises:
            UsageError: it cannot be written.
        """
        if not name:
            return cls(None)
        path = Path(name).absolute()
        directory = path.parent
        try:
            if path.is_dir():
                raise UsageError(f"-output-file: {name!r} is a directory")
            if not directory.is_dir():
                raise UsageError(f"-output-file: there is no directory {str(directory)!r}")
            if not _in_place(path):
                # Tried, not asked for: permissions say nothing of a file system that is no place for files.
                tempfile.TemporaryFile(dir=directory).close()
            elif not os.access(path if path.exists() else path.resolve().parent, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise UsageError(f"-output-file: {name!r} cannot be written: {error.strerror}") from error
        return cls(path)

    def write(self, result: "BuildResult") -> None:
        """Write the result as JSON, whole or not at all.

        Args:
            result: of the build.

        Raises:
            CustomizerError: the file cannot be written any more.
        """
        if self.path is None:
            return
        text = result.model_dump_json(indent=2) + "\n"
        try:
            if _in_place(self.path):
                self.path.write_text(text, encoding="utf-8")
            else:
                write_atomically(self.path, text)
                with contextlib.suppress(OSError):
                    self.path.chmod(0o666 & ~_umask())
        except OSError as error:
            raise CustomizerError(f"cannot write -output-file {str(self.path)!r}: {error.strerror}") from error


def _in_place(path: Path) -> bool:
    """Whether there is something that must not be replaced by a file: a link such as /dev/stdout, a pipe, a device."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
