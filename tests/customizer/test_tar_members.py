"""Archives that anybody may have made: whatever their bytes, looking through them takes bounded memory and time."""

import gzip
import io
import os
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from cos_customizer.customizer.context import archive_context, read_archive
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.tar_members import ArchiveError, Limits, read_members

BLOCK = tarfile.BLOCKSIZE
SMALL = Limits(members=50, names=2000, unpacked=4 << 20, free=1 << 20, ratio=20)
"""Limits that a test reaches in no time."""


class Endless:
    """A stream of some bytes and then zeros or a pattern without an end, which counts what is taken from it."""

    def __init__(self, begin: bytes, then: bytes = b"\0") -> None:
        self._begin, self._then = io.BytesIO(begin), then
        self.taken = 0

    def read(self, size: int) -> bytes:
        data = self._begin.read(size) or (self._then * (size // len(self._then) + 1))[:size]
        self.taken += len(data)
        return data


def header(name: str = "a", kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    """A header with a sound checksum, whatever it claims."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def record(key: str, value: str) -> bytes:
    """A record of an extended header."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


def extended(*records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    content = b"".join(records)
    return header("x", kind, len(content)) + padded(content)


def sparse_header(more: bool) -> bytes:
    """A header of GNU's sparse files, which says that further ones list its pieces."""
    block = bytearray(header("s", tarfile.GNUTYPE_SPARSE))
    block[482] = more
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


HUGE = {
    "a long name": header("x", tarfile.GNUTYPE_LONGNAME, 1 << 30),
    "a long link": header("x", tarfile.GNUTYPE_LONGLINK, 1 << 62),
    "extended attributes": header("x", tarfile.XHDTYPE, 1 << 30),
    "attributes of all": header("x", tarfile.XGLTYPE, 1 << 30),
    "a file": header("x", size=1 << 62),
    "a file by its attributes": extended(record("size", str(1 << 62))) + header(),
    "a sparse file": extended(record("GNU.sparse.realsize", str(1 << 62))) + header(),
    "a number of a thousand digits": extended(record("size", "9" * 1000)) + header(),
    "a negative size": header("x", size=-(1 << 40)),
    "a sound file before": header("ok") + header("x", tarfile.GNUTYPE_LONGNAME, 1 << 40),
}


@pytest.mark.parametrize("begin", HUGE.values(), ids=HUGE.keys())
def test_what_is_said_to_be_huge_is_refused_unread(begin: bytes) -> None:
    stream = Endless(begin)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError):
            list(read_members(stream))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert stream.taken <= len(begin)


ENDLESS = {
    "pieces of a sparse file": Endless(sparse_header(more=True), then=b"\1" * BLOCK),
    "members": Endless(b"", then=header("a")),
    "long names, each about the next one": Endless(b"", then=header("x", tarfile.GNUTYPE_LONGNAME)),
    "attributes, each about the next ones": Endless(b"", then=extended(kind=tarfile.XHDTYPE)),
}


@pytest.mark.parametrize("stream", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_is_given_up(stream: Endless) -> None:
    with pytest.raises(ArchiveError):
        for _ in read_members(stream, SMALL):
            pass
    assert stream.taken < 2 << 20


def test_names_are_limited_together() -> None:
    many = b"".join(extended(record("path", f"{number}".zfill(100))) + header() for number in range(24))
    with pytest.raises(ArchiveError, match="the names of its members have more than 1 KiB"):
        list(read_members(io.BytesIO(many), SMALL))


@pytest.mark.parametrize("cut", [1, BLOCK - 1, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 1, 3 * BLOCK, 4 * BLOCK - 1])
def test_what_is_cut_off_within_a_member_is_refused(cut: int) -> None:
    whole = extended(record("path", "name")) + header("a", size=700) + bytes(1024)
    with pytest.raises(ArchiveError, match="ends"):
        list(read_members(io.BytesIO(whole[:cut])))


def test_the_end_may_be_without_its_marker() -> None:
    assert [member.name for member in read_members(io.BytesIO(header("a", size=3) + padded(b"abc")))] == ["a"]


@pytest.mark.parametrize("broken", [b"5 path=abc\n", b"x", b"99999999 path=a\n", b"0 \n", b"11 path:abc\n", b"6 a=b"])
def test_damaged_attributes_are_refused(broken: bytes) -> None:
    with pytest.raises(ArchiveError):
        list(read_members(io.BytesIO(extended(broken) + header())))


FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())
def test_every_format_is_read_as_tarfile_reads_it(form: int, tmp_path: Path) -> None:
    long = "/".join(["d" * 60] * 3) if form != tarfile.USTAR_FORMAT else "d/" * 60 + "name"
    with tarfile.open(tmp_path / "a.tar", "w", format=form, pax_headers={"comment": "of all"}) as tar:
        for name, kind, link in (
            ("a", tarfile.REGTYPE, ""),
            (long, tarfile.REGTYPE, ""),
            ("Größe", tarfile.REGTYPE, ""),
            ("\udcff", tarfile.REGTYPE, ""),
            ("dir", tarfile.DIRTYPE, ""),
            ("link", tarfile.SYMTYPE, "a" * 90 if form == tarfile.USTAR_FORMAT else "a" * 300),
            ("hard", tarfile.LNKTYPE, "a"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            member.size = 1000 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    with tarfile.open(tmp_path / "a.tar") as tar:
        theirs = [(each.name, each.linkname, each.size) for each in tar]
    with (tmp_path / "a.tar").open("rb") as stream:
        assert [(each.name, each.link, each.size) for each in read_members(stream)] == theirs


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_sparse_file_counts_with_its_size(form: str, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for piece in range(40):
            file.seek(piece << 16)
            file.write(b"x" * 4096)
        file.truncate(4 << 20)
    (tmp_path / "zlast").write_text("there")
    subprocess.run(
        ["tar", f"--format={form}", "--sparse", "-czf", "a.tgz", "sparse", "zlast"], cwd=tmp_path, check=True
    )
    found = read_archive(tmp_path / "a.tgz", "a")
    assert (found.files, found.size) == (("sparse", "zlast"), (4 << 20) + 5)


def bomb(size: int) -> bytes:
    return gzip.compress(header("zeros", size=size) + bytes(size) + bytes(1024))


EXPANDING = {
    "well compressed": (lambda: bomb(2 << 20), "to more than 20 times its own size"),
    "long": (lambda: bomb(5 << 20), "said to have more than 4 MiB"),
    "long behind its end": (lambda: gzip.compress(header("a") + bytes(5 << 20)), "times its own size"),
    "many members": (lambda: gzip.compress(header("a") * 60), "more than 50 members"),
}


@pytest.mark.parametrize(("make", "message"), EXPANDING.values(), ids=EXPANDING.keys())
def test_what_expands_too_far_is_refused(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(make())
    with pytest.raises(UsageError, match=message) as caught:
        read_archive(tmp_path / "a.tgz", "gs://b/a", SMALL)
    assert "is more than a build context can be" in caught.value.message


def test_a_directory_is_held_to_what_its_archive_is_held_to(tmp_path: Path) -> None:
    directory = tmp_path / "files"
    directory.mkdir()
    (directory / "zeros").touch()
    os.truncate(directory / "zeros", 1 << 40)
    with pytest.raises(UsageError, match="unpacks to more than 64 GiB"):
        archive_context(directory, tmp_path / "a.tgz")
    os.truncate(directory / "zeros", 2 << 20)
    with pytest.raises(UsageError, match="20 times its own size"):
        archive_context(directory, tmp_path / "a.tgz", limits=SMALL)
    assert not (tmp_path / "a.tgz").exists()
    os.truncate(directory / "zeros", 1 << 19)
    assert archive_context(directory, tmp_path / "a.tgz", limits=SMALL) == read_archive(tmp_path / "a.tgz", "a", SMALL)
