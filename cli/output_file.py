"""`-output-file`: what came of the build, for programs."""

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cos_customizer.cli.state import write_atomically
from cos_customizer.customizer.errors import CustomizerError, UsageError

if TYPE_CHECKING:
    from cos_customizer.customizer.result import BuildResult


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
        if path.is_dir():
            raise UsageError(f"-output-file: {name!r} is a directory")
        if not directory.is_dir():
            raise UsageError(f"-output-file: there is no directory {str(directory)!r}")
        if not os.access(path if _is_special(path) else directory, os.W_OK):
            raise UsageError(f"-output-file: {name!r} cannot be written")
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
            if _is_special(self.path):
                self.path.write_text(text, encoding="utf-8")
            else:
                write_atomically(self.path, text)
                with contextlib.suppress(OSError):
                    self.path.chmod(0o666 & ~_umask())
        except OSError as error:
            raise CustomizerError(f"cannot write -output-file {str(self.path)!r}: {error.strerror}") from error


def _is_special(path: Path) -> bool:
    """Whether there is something that must not be replaced by a file: a pipe, a device such as /dev/stdout."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
