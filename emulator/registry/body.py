"""The body of a request to the registry, read in pieces: layers are larger than what memory should hold."""

from email.message import Message
from typing import BinaryIO

from cos_customizer.emulator.registry.errors import RegistryError

_LONGEST_LINE = 1024


class SentBody:
    """A body whose length is known, or that comes in chunks (RFC 9112, section 6).

    Args:
        stream: where it comes from.
        headers: of the request.

    Attributes:
        is_read: nothing of it is left.

    Raises:
        RegistryError: 400, its length cannot be told.
    """

    def __init__(self, stream: BinaryIO, headers: Message) -> None:
        lengths, encodings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
        length = lengths[0].strip() if lengths else "0"
        self._stream, self._chunked = stream, bool(encodings)
        if len(lengths) > 1 or not (length.isascii() and length.isdecimal() and len(length) < 20):
            raise _malformed("Content-Length")
        if encodings and (lengths or [each.strip().lower() for each in encodings] != ["chunked"]):
            raise _malformed("Transfer-Encoding")
        self._left = int(length)
        self.is_read = not self._chunked and not self._left

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most so many; none at the end.

        Raises:
            RegistryError: 400, it ends early or cannot be understood.
        """
        if self._chunked and not self._left and not self.is_read:
            self._begin_chunk()
        if self.is_read:
            return b""
        piece: bytes = getattr(self._stream, "read1", self._stream.read)(min(size, self._left))
        if not piece:
            raise _malformed("the end of the body")
        self._left -= len(piece)
        if not self._left and self._chunked:
            if self._stream.readline(_LONGEST_LINE).strip():
                raise _malformed("the end of a chunk")
        elif not self._left:
            self.is_read = True
        return piece

    def _begin_chunk(self) -> None:
        digits = self._stream.readline(_LONGEST_LINE).partition(b";")[0].strip()
        if not 0 < len(digits) <= 16 or digits.strip(b"0123456789abcdefABCDEF"):
            raise _malformed("the length of a chunk")
        self._left = int(digits, 16)
        if not self._left:
            while self._stream.readline(_LONGEST_LINE).strip():  # trailers
                pass
            self.is_read = True


def _malformed(what: str) -> RegistryError:
    return RegistryError(400, "BLOB_UPLOAD_INVALID", f"the request cannot be read: {what}")
