"""Bodies of requests: read as a whole before anybody waits for them, in a bounded time and of a bounded size."""

import time
import zlib
from collections.abc import Callable
from email.message import Message
from typing import BinaryIO

from cos_customizer.emulator.errors import ApiError

BODY_SECONDS = 300.0
"""How long a client may take to send a request's body."""
_PIECE = 1 << 20
_LONGEST_LINE = 1024


def read_body(stream: BinaryIO, headers: Message, longest: int, now: Callable[[], float] = time.monotonic) -> bytes:
    """Read a request's body, whether its length is known or it comes in chunks (RFC 9112, section 6).

    Args:
        stream: where it comes from.
        headers: of the request.
        longest: how many bytes it may have.
        now: tells the time in seconds.

    Raises:
        ApiError: 400 for a body that ends early or whose length cannot be told, 408 and 413 for one that is too slow
            or too long.
    """
    deadline = now() + BODY_SECONDS
    lengths, encodings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
    if encodings:
        if lengths or [each.strip().lower() for each in encodings] != ["chunked"]:
            raise _malformed("the body's length is said in two ways, or in an unknown one")
        return _read_chunks(stream, longest, deadline, now)
    if not lengths:
        return b""
    if len(lengths) > 1 or not _is_digits(lengths[0].strip()):
        raise _malformed(f"Content-Length is {', '.join(lengths)[:100]}")
    return _read(stream, int(lengths[0]), longest, deadline, now)


def _read(stream: BinaryIO, length: int, longest: int, deadline: float, now: Callable[[], float]) -> bytes:
    if length > longest:
        raise ApiError(413, "uploadTooLarge", f"The request's body is longer than {longest} bytes.")
    body = bytearray()
    while len(body) < length:
        # No more memory than has really been sent, and a look at the clock between pieces.
        piece = getattr(stream, "read1", stream.read)(min(_PIECE, length - len(body)))
        if not piece:
            raise _malformed("the body ends early")
        if now() > deadline:
            raise ApiError(408, "backendError", f"The request's body took longer than {BODY_SECONDS:g} seconds.")
        body += piece
    return bytes(body)


def _read_chunks(stream: BinaryIO, longest: int, deadline: float, now: Callable[[], float]) -> bytes:
    body = bytearray()
    while size := _chunk_size(stream):
        body += _read(stream, size, longest - len(body), deadline, now)
        if stream.readline(_LONGEST_LINE).strip():
            raise _malformed("a chunk does not end where it should")
    while stream.readline(_LONGEST_LINE).strip():  # trailers
        if now() > deadline:
            raise _malformed("the body does not end")
    return bytes(body)


def _chunk_size(stream: BinaryIO) -> int:
    digits = stream.readline(_LONGEST_LINE).partition(b";")[0].strip()
    if not 0 < len(digits) <= 16 or digits.strip(b"0123456789abcdefABCDEF"):
        raise _malformed("a chunk has no length")
    return int(digits, 16)


def decoded(body: bytes, encoding: str, longest: int) -> bytes:
    """Return a body without its content encoding.

    Args:
        body: as it was sent.
        encoding: the header `Content-Encoding`.
        longest: how many bytes it may have.

    Raises:
        ApiError: 400 for an encoding that is unknown here or not the body's, 413 for a body that is too long.
    """
    kinds = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
    if encoding.lower() in ("", "identity"):
        return body
    if encoding.lower() not in kinds:
        raise _malformed(f"Content-Encoding is {encoding[:100]}")
    machine = zlib.decompressobj(kinds[encoding.lower()])
    try:
        content = machine.decompress(body, longest + 1)
    except zlib.error as error:
        raise _malformed(f"the body is not {encoding}: {error}") from None
    if len(content) > longest:
        raise ApiError(413, "uploadTooLarge", f"The request's body is longer than {longest} bytes.")
    if not machine.eof:
        raise _malformed("the body ends early")
    return content


def _is_digits(text: str) -> bool:
    return 0 < len(text) <= 19 and text.isascii() and text.isdecimal()


def _malformed(what: str) -> ApiError:
    return ApiError(400, "badRequest", f"The request cannot be read: {what}.")
