"""The stream of a build context's archive is the one that Python's tarfile writes, byte for byte."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from cos_customizer.customizer import tar_writer
from cos_customizer.customizer.ignore_rules import IgnoreRules
from cos_customizer.customizer.tar_writer import TarWriter

EPOCH = 315532800
BLOCK = tar_writer._BLOCK
NAMES = ("a", "lib/Größe.sh", "n" * 100, "n" * 101, "d/" * 60 + "f", "ü" * 51, os.fsdecode(b"not-utf-8-\xff"))


def expected(members: list[tuple[str, bytes, int, str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, mode, link, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.linkname, member.mtime, member.size = kind, mode, link, EPOCH, len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_the_stream_is_tarfiles(name: str, tmp_path: Path) -> None:
    sizes = (0, 1, 511, 512, 513, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK)
    members: list[tuple[str, bytes, int, str, bytes]] = [("directory", tarfile.DIRTYPE, 0o755, "", b"")]
    packed = io.BytesIO()
    writer = TarWriter(packed)
    writer.add("directory", tarfile.DIRTYPE, 0o755)
    for number, size in enumerate(sizes):
        content, mode = os.urandom(size), (0o644, 0o755)[number % 2]
        (tmp_path / "file").write_bytes(content)
        assert writer.add_file(name, str(tmp_path / "file"), mode) == size
        members.append((name, tarfile.REGTYPE, mode, "", content))
    writer.add(name, tarfile.SYMTYPE, 0o777, name[::-1])
    members.append((name, tarfile.SYMTYPE, 0o777, name[::-1], b""))
    writer.finish()
    stream = expected(members)
    assert gzip.decompress(packed.getvalue()) == stream
    assert (writer.written, writer.digest.hexdigest()) == (len(stream), hashlib.sha256(stream).hexdigest())


def test_a_file_beyond_what_eleven_digits_count_has_the_header_that_tarfile_gives_it() -> None:
    for size in (8**11 - 1, 8**11, 8**12):
        member = tarfile.TarInfo("large")
        member.mode, member.mtime, member.size = 0o644, EPOCH, size
        assert tar_writer._header("large", 0o644, size) == member.tobuf(tarfile.GNU_FORMAT)


def test_noise_is_stored_as_it_is_and_the_compressed_file_names_nothing(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(os.urandom(4 << 20))
    packed = io.BytesIO()
    writer = TarWriter(packed)
    writer.add_file("noise", str(tmp_path / "noise"), 0o644)
    writer.finish()
    assert len(packed.getvalue()) < 1.001 * writer.written
    assert packed.getvalue()[:8] == b"\x1f\x8b\x08\0\0\0\0\0", "no name, no time"


def test_what_is_no_file_any_more_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is no file any more"):
        TarWriter(io.BytesIO()).add_file("pipe", str(tmp_path / "pipe"), 0o644)


@pytest.mark.parametrize(
    "rules",
    [
        [],
        ["*.o", "!keep.o"],
        ["/build/", "docs/**/draft*"],
        ["a b", "\\#c", "[x-z]?", "(odd)", "!*"],
        ["*", "!*/", "!x"],
    ],
)
def test_a_look_at_all_rules_at_once_decides_as_each_of_them(rules: list[str], tmp_path: Path) -> None:
    (tmp_path / ".gcloudignore").write_text("\n".join(rules))
    known = IgnoreRules(tmp_path)
    parts = ["a.o", "keep.o", "build", "docs", "draft1", "a b", "#c", "xy", "(odd)", ".git", "x~", "x", "o"]
    for name in [*parts, *(f"{one}/{other}" for one in parts for other in parts)]:
        assert known.leave_out(name, False) == bool(known._of_files.match_file(name)), name
        assert known.leave_out(name, True) == bool(known._of_directories.match_file(f"{name}/")), name
