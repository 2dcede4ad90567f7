"""Recorded contents as a builder VM packs them."""

import gzip
import io
import tarfile
from collections.abc import Iterable


def pack(members: Iterable[tuple[str, bytes]]) -> bytes:
    """An archive of members by their names."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w|") as tar:
        for name, content in (("version", b"1\n"), *members):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def packed(**members: bytes) -> bytes:
    """The same, of texts whose names are given with `__` for a slash."""
    return pack((name.replace("__", "/"), content) for name, content in members.items())
