"""A serial console on standard output."""

import sys
from types import TracebackType
from typing import Self

from cos_customizer.cli.messages import printable
from cos_customizer.cli.streams import write_bytes
from cos_customizer.guest.protocol import readable

_LONGEST_LINE = 64 << 10


class ConsoleText:
    """Passes on what a serial port prints: as it is; or to a terminal line by line, with nothing that steers it."""

    def __init__(self) -> None:
        self._plain = sys.stdout.isatty()
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rest:
            self._show(self._rest)

    def write(self, data: bytes) -> None:
        """Pass on a piece of output, which may end anywhere."""
        if not self._plain:
            write_bytes(sys.stdout, data)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._show(line)
        if len(self._rest) > _LONGEST_LINE:
            self._show(self._rest)
            self._rest = b""

    def _show(self, line: bytes) -> None:
        text = readable(line.strip(b"\r"))
        sys.stdout.write(f"{printable(text)}\n")
        sys.stdout.flush()
