"""Contents that are being written: bytes go to a file as they come, and their checksums are counted meanwhile."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c

from cos_customizer.emulator.request_body import PIECE, Body
from cos_customizer.emulator.storage.requests import invalid


class Draft:
    """A file that grows at its end.

    Args:
        path: of the file; what it holds already counts.

    Attributes:
        path: of the file.
        size: bytes that it has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = 0
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                self._count(piece)

    def add(self, body: Body, skip: int = 0) -> None:
        """Append all of a body; what came before an error stays.

        Args:
            body: to be read.
            skip: how many of its first bytes are there already.

        Raises:
            ApiError: the body cannot be read.
            OSError: there is no room.
        """
        with self.path.open("ab", buffering=0) as file:
            while piece := body.read(PIECE):
                if skip:
                    dropped = min(skip, len(piece))
                    skip, piece = skip - dropped, piece[dropped:]
                self._write(file, piece)

    def _write(self, file: BinaryIO, piece: bytes) -> None:
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        finally:
            self._count(piece[: len(piece) - len(rest)])

    def _count(self, piece: bytes) -> None:
        self._md5.update(piece)
        self._crc32c = google_crc32c.extend(self._crc32c, piece)
        self.size += len(piece)

    def sums_like(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Return the size and the checksums; see `check_sums`.

        Raises:
            ApiError: 400, they are not those that the client has told.
        """
        sums = self.sums()
        check_sums(sums, told)
        return sums

    def sums(self, with_md5: bool = True) -> dict[str, Any]:
        """Return the size and the checksums as an object's resource has them.

        Args:
            with_md5: False for an object made of parts, which has none.
        """
        sums = {"size": str(self.size), "crc32c": base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()}
        if with_md5:
            sums["md5Hash"] = base64.b64encode(self._md5.digest()).decode()
        return sums

    def md5_hex(self) -> str:
        """Return the MD5 sum in hexadecimal."""
        return self._md5.hexdigest()


def check_sums(sums: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """Refuse an upload whose bytes are not those that the client means.

    Args:
        sums: that were counted.
        told: that the client has sent, as fields of a resource: `crc32c`, `md5Hash`.

    Raises:
        ApiError: 400.
    """
    for name, label, length in (("crc32c", "CRC32C", 4), ("md5Hash", "MD5 hash", 16)):
        if (expected := told.get(name)) is None:
            continue
        try:
            is_sum = len(base64.b64decode(expected, validate=True)) == length
        except (TypeError, ValueError, binascii.Error):
            is_sum = False
        if not is_sum:
            raise invalid(f"Invalid value for field '{name}': '{str(expected)[:100]}'.")
        if expected != sums.get(name, expected):
            raise invalid(f'Provided {label} "{expected}" doesn\'t match calculated {label} "{sums[name]}".')


def sums_in_headers(headers: Message) -> dict[str, str]:
    """Return the checksums that `X-Goog-Hash` and `Content-MD5` tell, as fields of a resource."""
    parts = [part.strip().partition("=") for part in headers.get("X-Goog-Hash", "").split(",")]
    told = {{"md5": "md5Hash"}.get(name, name): text for name, _, text in parts if name in ("md5", "crc32c")}
    if md5 := headers.get("Content-MD5"):
        told["md5Hash"] = md5.strip()
    return told
