"""Bodies of requests: read in pieces, in a bounded time and of a bounded size."""

import time
import zlib
from collections.abc import Callable
from email.message import Message
from typing import BinaryIO, Protocol

from cos_customizer.emulator.errors import ApiError

BODY_SECONDS = 300.0
"""How long a client may take to send a request's body, unless the service says otherwise."""
PIECE = 1 << 20
"""Bytes that are in memory at a time of a body that may be large."""
_LONGEST_LINE = 1024


class Body(Protocol):
    """Bytes that come one after the other."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end.

        Raises:
            ApiError: it cannot be read.
        """


class RequestBody:
    """A request's body, whether its length is known or it comes in chunks (RFC 9112, section 6).

    Args:
        stream: where it comes from.
        headers: of the request.
        longest: how many bytes it may have.
        seconds: how long the client may take.
        now: tells the time in seconds.

    Attributes:
        is_read: nothing of it is left.

    Raises:
        ApiError: 400 for a body whose length cannot be told, 413 for one that is too long.
    """

    def __init__(
        self,
        stream: BinaryIO,
        headers: Message,
        longest: int,
        seconds: float = BODY_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        lengths, encodings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
        self._stream, self._longest, self._seconds, self._now = stream, longest, seconds, now
        self._deadline = now() + seconds
        self._left = self._total = 0
        self._error: ApiError | None = None
        self._is_chunked = bool(encodings)
        if encodings and (lengths or [each.strip().lower() for each in encodings] != ["chunked"]):
            raise _malformed("the body's length is said in two ways, or in an unknown one")
        if len(lengths) > 1 or (lengths and not _is_digits(lengths[0].strip())):
            raise _malformed(f"Content-Length is {', '.join(lengths)[:100]}")
        if lengths:
            self._expect(int(lengths[0]))
        self.is_read = not self._is_chunked and not self._left

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end.

        Raises:
            ApiError: 400 for a body that ends early, 408 and 413 for one that is too slow or too long.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._read(size)
        except ApiError as error:
            self._error = error  # there is nothing to go on with
            raise

    def _read(self, size: int) -> bytes:
        if self._is_chunked and not self.is_read and not self._left:
            self._begin_chunk()
        if self.is_read:
            return b""
        # No more memory than has really been sent, and a look at the clock between pieces.
        piece: bytes = getattr(self._stream, "read1", self._stream.read)(min(size, self._left))
        if not piece:
            raise _malformed("the body ends early")
        self._look_at_clock()
        self._left -= len(piece)
        if not self._left:
            if self._is_chunked:
                self._end_chunk()
            else:
                self.is_read = True
        return piece

    def _expect(self, size: int) -> None:
        self._total += size
        if self._total > self._longest:
            raise too_long(self._longest)
        self._left = size

    def _begin_chunk(self) -> None:
        digits = self._stream.readline(_LONGEST_LINE).partition(b";")[0].strip()
        if not 0 < len(digits) <= 16 or digits.strip(b"0123456789abcdefABCDEF"):
            raise _malformed("a chunk has no length")
        self._expect(int(digits, 16))
        if not self._left:
            while self._stream.readline(_LONGEST_LINE).strip():  # trailers
                self._look_at_clock()
            self.is_read = True

    def _end_chunk(self) -> None:
        if self._stream.readline(_LONGEST_LINE).strip():
            raise _malformed("a chunk does not end where it should")

    def _look_at_clock(self) -> None:
        if self._now() > self._deadline:
            raise ApiError(408, "backendError", f"The request's body took longer than {self._seconds:g} seconds.")


class DecodedBody:
    """A body without its content encoding.

    Args:
        body: as it was sent.
        encoding: the header `Content-Encoding`.
        longest: how many bytes it may have.

    Raises:
        ApiError: 400, the encoding is unknown here.
    """

    def __init__(self, body: Body, encoding: str, longest: int) -> None:
        kinds = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
        if encoding.lower() not in kinds:
            raise _malformed(f"Content-Encoding is {encoding[:100]}")
        self._body, self._encoding, self._longest = body, encoding, longest
        self._machine = zlib.decompressobj(kinds[encoding.lower()])
        self._total = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end.

        Raises:
            ApiError: 400 for a body that is not so encoded, 413 for one that is too long.
        """
        content = b""
        while not content and not self._machine.eof:
            packed = self._machine.unconsumed_tail or self._body.read(PIECE)
            try:
                content = self._machine.decompress(packed, size)
            except zlib.error as error:
                raise _malformed(f"the body is not {self._encoding}: {error}") from None
            if not packed and not content and not self._machine.eof:
                raise _malformed("the body ends early")
        self._total += len(content)
        if self._total > self._longest:
            raise too_long(self._longest)
        return content


def read_all(body: Body, longest: int) -> bytes:
    """Return a body that is to be in memory as a whole.

    Args:
        body: to be read.
        longest: how many bytes it may have.

    Raises:
        ApiError: it cannot be read, or is too long (413).
    """
    content = bytearray()
    while piece := body.read(PIECE):
        content += piece
        if len(content) > longest:
            raise too_long(longest)
    return bytes(content)


def too_long(longest: int) -> ApiError:
    """A body has more bytes than it may have."""
    return ApiError(413, "uploadTooLarge", f"The request's body is longer than {longest} bytes.")


def _is_digits(text: str) -> bool:
    return 0 < len(text) <= 19 and text.isascii() and text.isdecimal()


def _malformed(what: str) -> ApiError:
    return ApiError(400, "badRequest", f"The request cannot be read: {what}.")
