"""Standard input, output and error as a program can rely on them: open, whatever it was started with.

A shell closes them with `>&-`; a reader of a pipe goes. Neither says anything of the work, so neither changes an exit
code: what nobody can read is discarded.
"""

import contextlib
import io
import os
import sys
from typing import Any


class _LastingFile(io.FileIO):
    """A descriptor that discards what is written to it as soon as its reader has gone."""

    def write(self, data: Any) -> int:
        """Write, or discard."""
        try:
            return super().write(data)
        except BrokenPipeError:
            discard(self.fileno())
            return len(memoryview(data).cast("B"))


def secure_standard_streams() -> None:
    """Open what is closed of the standard streams, and let no reader that goes away end the program.

    Called before anything else opens a file, which would get the number of a stream that is closed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free, so this very one; for input too: to read from it is its end.
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _lasting(sys.stdout, 1)
    sys.stderr = _lasting(sys.stderr, 2)


def _lasting(stream: Any, descriptor: int) -> Any:
    """A text stream that outlasts its reader, in place of the interpreter's own one; any other one is left alone."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # without buffers (`python -u`), the one is the other
    if stream is not None and not (type(raw) is io.FileIO and raw.fileno() == descriptor):
        return stream
    with contextlib.suppress(OSError, ValueError):
        if stream is not None:
            stream.flush()
    lasting = _LastingFile(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(lasting),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors="replace",
        line_buffering=descriptor == 2 or lasting.isatty(),
        write_through=bool(getattr(stream, "write_through", False)),
    )


def write_bytes(stream: Any, data: bytes) -> None:
    """Write bytes to a text stream as they are, at once; as text where it has none below it, as in a test."""
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(data.decode(errors="replace"))
        return
    stream.flush()
    buffer.write(data)
    buffer.flush()


def discard(descriptor: int) -> None:
    """Discard whatever is written to a descriptor from now on."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
