"""Output of serial ports in files that grow for ever and take little room: what no reader may ask for is punched out.

QEMU appends to the files, so a byte's place in its file is its offset in the API. A hole keeps those places, and needs
nothing of the writer (https://man7.org/linux/man-pages/man2/fallocate.2.html, FALLOC_FL_PUNCH_HOLE).
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from cos_customizer.emulator import LOG
from cos_customizer.emulator.machines.backend import SERIAL_RING_BYTES, SerialChunk

_PUNCH_HOLE, _KEEP_SIZE = 0x02, 0x01
_SLACK = SERIAL_RING_BYTES
"""Bytes that a file may have beyond the ring before it is punched."""
_PERIOD = 0.5
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def read(file: Path, start: int) -> SerialChunk:
    """Return a port's output from an offset on, as far as the ring still holds it.

    Args:
        file: of the port.
        start: an offset; one that is older than the ring means the ring's first byte.
    """
    try:
        with file.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            start = min(max(start, end - SERIAL_RING_BYTES, 0), end)
            stream.seek(start)
            contents = stream.read(end - start)
    except FileNotFoundError:
        return SerialChunk(b"", 0, 0)
    return SerialChunk(contents, start, start + len(contents))


def trim(directory: Path) -> None:
    """Give back the room of what the rings of a machine have lost. Readers and the writer are not disturbed.

    Args:
        directory: of its files.

    Raises:
        OSError: the file system cannot do it.
    """
    for file in directory.glob("serial*"):
        with file.open("r+b") as stream:
            status = os.fstat(stream.fileno())
            if status.st_blocks * 512 <= SERIAL_RING_BYTES + _SLACK:
                continue
            # Half a mebibyte more than is served stays: somebody may be reading the ring's oldest part.
            end = status.st_size - SERIAL_RING_BYTES - _SLACK // 2
            if end > 0 and _libc.fallocate(stream.fileno(), _PUNCH_HOLE | _KEEP_SIZE, 0, end):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(file))


class Trimmer:
    """Trims the output of machines again and again, from the first start of one to `close`.

    Args:
        directories: of the machines that run.
    """

    def __init__(self, directories: Callable[[], Iterable[Path]]) -> None:
        self._directories = directories
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="serial-trimmer", daemon=True)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin, unless it has begun."""
        with self._lock:
            if not self._thread.is_alive() and not self._end.is_set():
                self._thread.start()

    def close(self) -> None:
        """End it."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(_PERIOD):
            for directory in self._directories():
                try:
                    trim(directory)
                except OSError as error:
                    LOG.warning("serial output of machines is kept whole from now on: %s", error)
                    return
