"""Bodies of several parts, read one after the other (https://www.rfc-editor.org/rfc/rfc2046#section-5.1)."""

from email.message import Message
from email.parser import BytesParser

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.request_body import PIECE, Body
from cos_customizer.emulator.storage.requests import LONGEST_JSON, invalid

_LONGEST_LINE, _MOST_LINES = 16 << 10, 100


class MultipartReader:
    """Reads the parts of a body; itself the body of the present part.

    Args:
        body: the whole body.
        content_type: the header; it names the boundary, in quotes of either kind or in none.

    Raises:
        ApiError: 400, it is of another type.
    """

    def __init__(self, body: Body, content_type: str) -> None:
        message = Message()
        message["Content-Type"] = content_type
        boundary = str(message.get_param("boundary", "")).strip("'\"")
        if message.get_content_maintype() != "multipart" or not 0 < len(boundary) <= 250:
            raise invalid("A multipart body must have a Content-Type with a boundary.")
        self._boundary = b"--" + boundary.encode("utf-8", "replace")
        # What is before the first part is one, too. Its end shows how lines end: apitools has them end with \n alone.
        self._mark = b"\n" + self._boundary
        self._body, self._held, self._is_over = body, b"\n", False

    def next_part(self) -> Message:
        """Go to the next part, over what is left of the present one, and return its headers.

        Raises:
            ApiError: 400, there is none.
        """
        while self.read(PIECE):
            pass
        self._held = self._held[len(self._mark) :]
        line = self._line()
        if line.strip(b" \t\r\n"):
            raise _malformed()
        self._mark = (b"\r\n" if line.endswith(b"\r\n") else b"\n") + self._boundary
        self._is_over = False
        lines: list[bytes] = []
        while line := self._line().strip(b"\r\n"):
            lines.append(line)
            if len(lines) > _MOST_LINES:
                raise _malformed()
        return BytesParser().parsebytes(b"\r\n".join(lines))

    def _line(self) -> bytes:
        while b"\n" not in self._held[:_LONGEST_LINE]:
            if len(self._held) >= _LONGEST_LINE:
                raise _malformed()
            self._fill()
        line, self._held = self._held[: (end := self._held.index(b"\n") + 1)], self._held[end:]
        return line

    def _fill(self) -> None:
        piece = self._body.read(PIECE)
        if not piece:
            raise _malformed()
        self._held += piece

    def read(self, size: int) -> bytes:
        """Return the next bytes of the part; none at its end."""
        while not self._is_over:
            end = self._held.find(self._mark)
            if end < 0:
                end = len(self._held) - len(self._mark) + 1
            elif end == 0:
                self._is_over = True
                break
            if end > 0:
                end = min(end, size)
                piece, self._held = self._held[:end], self._held[end:]
                return piece
            self._fill()
        return b""

    def read_all(self) -> bytes:
        """Return the whole part.

        Raises:
            ApiError: 400, it is too long to be read at once.
        """
        content = bytearray()
        while piece := self.read(PIECE):
            content += piece
            if len(content) > LONGEST_JSON:
                raise _malformed()
        return bytes(content)

    def check_end(self) -> None:
        """Make sure that the present part was the last one.

        Raises:
            ApiError: 400.
        """
        while len(self._held) < len(self._mark) + 2:
            self._fill()
        if self._held[len(self._mark) :][:2] != b"--":
            raise _malformed()
        while self._body.read(PIECE):  # an epilogue
            pass


def _malformed() -> ApiError:
    return invalid("Malformed multipart body.")
