"""The build context's archive: complete, the same for the same tree, flat in memory, clear about what it refuses."""

import gc
import gzip
import hashlib
import os
import random
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.memory import peak_memory

from cos_customizer.customizer.context import archive_context
from cos_customizer.customizer.errors import CustomizerError, UsageError


@pytest.fixture
def context(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    directory.mkdir()
    return directory


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "context.tar.gz"


def members(archive: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(archive) as tar:
        return {member.name: member for member in tar}


def fill(directory: Path) -> None:
    """One of everything that a build context may hold, made in no order to speak of."""
    (directory / "zeta.sh").write_text("echo zeta\n")
    (directory / "lib").mkdir(mode=0o750)
    (directory / "lib" / "mylib.sh").write_text("true\n")
    (directory / "empty").mkdir()
    (directory / ".hidden").mkdir()
    (directory / ".hidden" / ".file").write_bytes(bytes(range(256)))
    (directory / "main.sh").write_text("#!/bin/bash\n")
    (directory / "main.sh").chmod(0o4755)
    (directory / "readonly").touch(mode=0o400)
    (directory / "to-file").symlink_to("lib/mylib.sh")
    (directory / "to-directory").symlink_to("lib")
    (directory / "dangling").symlink_to("/no/such/file")
    (directory / "loop").symlink_to("loop")
    (directory / "to-parent").symlink_to("..")
    os.link(directory / "zeta.sh", directory / "hard-link.sh")
    (directory / ("long" * 60)).write_text("a name longer than a tar header's field\n")
    (directory / "Größe 🎉\n'\"$(id)").write_text("odd\n")
    Path(os.fsdecode(os.fsencode(directory) + b"/not-\xff-utf8")).write_text("odder\n")


def as_git_has_it(mode: int) -> int:
    """A mode of which only the kind and whether a file may be executed is kept."""
    if stat.S_ISLNK(mode):
        return mode
    return stat.S_IFMT(mode) | (0o755 if stat.S_ISDIR(mode) or mode & 0o100 else 0o644)


def test_everything_is_in_the_archive_as_it_is_in_the_directory(context: Path, archive: Path, tmp_path: Path) -> None:
    fill(context)
    made = archive_context(context, archive)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-xzpf", archive, "-C", unpacked], check=True)  # GNU tar, as on the builder VM
    found = sorted(unpacked.rglob("*"), key=os.fsencode)
    assert [path.relative_to(unpacked) for path in found] == [
        path.relative_to(context) for path in sorted(context.rglob("*"), key=os.fsencode)
    ]
    for path in found:
        original = context / path.relative_to(unpacked)
        assert path.lstat().st_mode == as_git_has_it(original.lstat().st_mode)
        if path.is_symlink():
            assert path.readlink() == original.readlink()
        elif path.is_file():
            assert path.read_bytes() == original.read_bytes()
    files = [path for path in context.rglob("*") if path.is_symlink() or not path.is_dir()]
    assert made.files == tuple(sorted(str(path.relative_to(context)) for path in files))
    assert made.size == sum(path.stat().st_size for path in files if not path.is_symlink())


def test_the_digest_is_that_of_the_tar_stream(context: Path, archive: Path) -> None:
    fill(context)
    made = archive_context(context, archive)
    assert made.sha256 == hashlib.sha256(gzip.decompress(archive.read_bytes())).hexdigest()


def test_the_same_tree_elsewhere_at_another_time_by_another_user_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "a" / "longer" / "way" / "two"
    one.mkdir()
    other.mkdir(parents=True)
    fill(one)
    fill(other)
    for number, path in enumerate([other, *other.rglob("*")]):
        os.utime(path, (number, number), follow_symlinks=False)
        if os.geteuid() == 0 and not path.stat(follow_symlinks=False).st_mode & 0o4000:
            os.chown(path, 1000 + number, 1000, follow_symlinks=False)
    made = archive_context(one, tmp_path / "1"), archive_context(other, tmp_path / "2")
    assert made[0] == made[1]
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def _relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("/no/such/thing")


def _make_file(path: Path) -> None:
    path.rmdir()
    path.touch()


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda path: (path / "main.sh").write_text("#!/bin/sh\n"),
    "mode": lambda path: (path / "main.sh").chmod(0o644),
    "name": lambda path: (path / "main.sh").rename(path / "Main.sh"),
    "link": lambda path: _relink(path / "dangling"),
    "empty directory": lambda path: (path / "empty").rmdir(),
    "kind": lambda path: _make_file(path / "empty"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_tree_has_another_digest(context: Path, archive: Path, change: Callable[[Path], object]) -> None:
    fill(context)
    before = archive_context(context, archive).sha256
    change(context)
    assert archive_context(context, archive).sha256 != before


def test_owners_and_times_are_not_in_the_archive(context: Path, archive: Path) -> None:
    fill(context)
    archive_context(context, archive)
    for member in members(archive).values():
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 315532800)


@pytest.mark.parametrize(
    ("path", "mode"),
    [("main.sh", 0o755), ("main.sh", 0o777), ("main.sh", 0o7700), ("readonly", 0o664), ("lib", 0o2775), ("lib", 0o700)],
)
def test_modes_that_git_does_not_keep_change_no_digest(context: Path, archive: Path, path: str, mode: int) -> None:
    fill(context)
    before = archive_context(context, archive).sha256
    (context / path).chmod(mode)
    assert archive_context(context, archive).sha256 == before
    assert {member.mode for member in members(archive).values()} == {0o644, 0o755, 0o777}
    assert {member.mode for member in members(archive).values() if not member.issym()} == {0o644, 0o755}


def test_one_commit_has_one_digest_whatever_the_umask_and_the_place(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "run.sh").write_text("true\n")
    (origin / "run.sh").chmod(0o755)
    (origin / "lib").mkdir()
    (origin / "lib" / "a.sh").write_text("true\n")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.com", "-C", str(origin)]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "m"]):
        subprocess.run([*git, *arguments], check=True)
    digests = set()
    for mask in ("022", "002", "077"):
        clone = tmp_path / f"clone-{mask}"
        subprocess.run(["bash", "-c", f"umask {mask}; git clone -q '{origin}' '{clone}'"], check=True)
        for left in ("run.sh~", "lib/.a.sh.swp", "__pycache__/x.pyc", ".idea/workspace.xml", ".DS_Store", "old/x.pyc"):
            (clone / left).parent.mkdir(exist_ok=True)
            (clone / left).write_text(mask)
        made = archive_context(clone, tmp_path / "archive")
        assert made.files == ("lib/a.sh", "run.sh")
        digests.add(made.sha256)
    assert len(digests) == 1


IGNORED = [
    (
        {".gcloudignore": "*.log\n/big\n!keep.log\n", "x.log": "", "keep.log": "", "big": "", "a/big": ""},
        "a/big keep.log",
    ),
    ({".gitignore": "*.log\n", "x.log": "", "a": ""}, "a"),
    ({".gcloudignore": "a\n", ".gitignore": "*.log\n", "x.log": "", "a": ""}, "x.log"),
    ({".gcloudignore": "a\n#!include:.gitignore\n", ".gitignore": "*.log\n", "x.log": "", "a": "", "b": ""}, "b"),
    ({".gcloudignore": "# a\n\r\n\\#b\r\n", "a": "", "#b": ""}, "a"),
    ({".gcloudignore": "d/\n!d/x\n", "d/x": "", "e/d": ""}, "e/d"),
    ({".gcloudignore": "*\n!*/\n!*.sh\n", "d/x": "", "d/y.sh": "", "z/x": ""}, "d/y.sh"),
    ({".gcloudignore": "\ufeffa\n!.git\n!\n", "a": "", ".git/config": ""}, ".git/config"),
    ({"sub/.gitignore": "*.log\n", "sub/x.log": ""}, "sub/x.log"),
    ({".gitignore": "#!include:other\n", "other": "a", "a": ""}, "a other"),
]


@pytest.mark.parametrize(("tree", "left"), IGNORED)
def test_ignore_files_name_what_is_left_out(context: Path, archive: Path, tree: dict[str, str], left: str) -> None:
    for name, text in tree.items():
        (context / name).parent.mkdir(exist_ok=True)
        (context / name).write_text(text)
    made = archive_context(context, archive)
    assert made.files == tuple(left.split())
    directories = {str(Path(name).parent) for name in made.files} - {"."}
    assert {name for name, member in members(archive).items() if member.isdir()} == directories


@pytest.mark.parametrize("name", ["missing", "../outside", "sub/rules"])
def test_what_an_ignore_file_cannot_include_is_told(context: Path, archive: Path, name: str) -> None:
    (context / ".gcloudignore").write_text(f"#!include:{name}\n")
    with pytest.raises(UsageError, match=r"[.]gcloudignore includes .* which is no file beside it"):
        archive_context(context, archive)
    assert not archive.exists()


def test_a_single_file_is_archived_under_its_name(context: Path, archive: Path) -> None:
    (context / "preload.sh").write_text("true\n")
    assert archive_context(context / "preload.sh", archive).files == ("preload.sh",)


def test_a_context_that_is_a_symbolic_link_is_what_it_points_to(context: Path, archive: Path, tmp_path: Path) -> None:
    (context / "preload.sh").write_text("true\n")
    link, file_link = tmp_path / "link", tmp_path / "other.sh"
    link.symlink_to(context)
    file_link.symlink_to(context / "preload.sh")
    assert archive_context(link, archive).files == ("preload.sh",)
    assert archive_context(file_link, archive).files == ("other.sh",)
    assert members(archive)["other.sh"].isreg()


def test_an_empty_directory_is_an_empty_context(context: Path, archive: Path) -> None:
    made = archive_context(context, archive)
    assert (made.files, made.size, members(archive)) == ((), 0, {})


@pytest.mark.parametrize("through_link", [False, True])
def test_the_archive_and_the_local_state_are_left_out(context: Path, tmp_path: Path, through_link: bool) -> None:
    fill(context)
    before = archive_context(context, tmp_path / "outside")
    state = context / "state"
    state.mkdir()
    (state / "state.json").write_text("secret")
    source = context
    if through_link:
        source = tmp_path / "link"
        source.symlink_to(context)
    assert archive_context(source, context / "lib" / "context.tar.gz", exclude=state) == before
    (context / "lib" / "context.tar.gz").unlink()
    assert archive_context(source, state / "context.tar.gz", exclude=source / "lib" / ".." / "state") == before


def test_a_link_to_the_local_state_is_no_part_of_it(context: Path, archive: Path) -> None:
    (context / "state").mkdir()
    (context / "link").symlink_to("state")
    assert archive_context(context, archive, exclude=context / "state").files == ("link",)


def test_a_local_state_that_does_not_exist_hides_nothing(context: Path, archive: Path) -> None:
    (context / "a").touch()
    assert archive_context(context, archive, exclude=context / "state").files == ("a",)


def test_a_tree_deeper_than_the_interpreter_recurses_is_archived(context: Path, archive: Path) -> None:
    try:
        descriptor = os.open(context, os.O_RDONLY)
        for _ in range(1200):
            os.mkdir("d", dir_fd=descriptor)
            inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        os.close(descriptor)
        archive_context(context, archive)
        assert len(members(archive)) == 1200
    finally:
        subprocess.run(["rm", "-rf", context], check=True)  # pytest would recurse


@contextmanager
def as_nobody_in(directory: Path) -> Iterator[Path]:
    """Work in a directory of one whom permissions bind; root reads everything."""
    if os.geteuid() != 0:
        yield directory
        return
    os.chown(directory, 65534, 65534)
    os.seteuid(65534)
    try:
        yield directory
    finally:
        os.seteuid(0)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            server.bind(path.name)
        finally:
            os.chdir(before)


@pytest.mark.parametrize("make", [os.mkfifo, make_socket], ids=["fifo", "socket"])
def test_a_special_file_is_refused_by_name(context: Path, archive: Path, make: Callable[[Path], None]) -> None:
    (context / "lib").mkdir()
    make(context / "lib" / "special")
    for source in (context, context / "lib" / "special"):
        with pytest.raises(UsageError, match=r"lib/special' is neither a file, a directory nor a symbolic link"):
            archive_context(source, archive)
        assert not archive.exists()


@pytest.mark.parametrize(("kind", "mode"), [("file", 0o000), ("directory", 0o000), ("directory", 0o444)])
def test_what_cannot_be_read_is_refused_by_name(kind: str, mode: int) -> None:
    with tempfile.TemporaryDirectory() as name, as_nobody_in(Path(name)) as directory:
        secret = directory / "context" / "secret"
        secret.parent.mkdir()
        if kind == "file":
            secret.touch()
        else:
            secret.mkdir()
            (secret / "inside").touch()
        secret.chmod(mode)
        for source in (secret.parent, secret, *([secret / "inside"] if kind == "directory" else [])):
            with pytest.raises(UsageError, match=r"secret(/inside)?': Permission denied") as caught:
                archive_context(source, directory / "archive")
            assert "Errno" not in caught.value.message
            assert not (directory / "archive").exists()
        secret.chmod(0o700)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "'missing' does not exist"),
        ("file/inside", "Not a directory"),
        ("dangling", "'dangling' is a symbolic link to what does not exist"),
        ("loop", "Too many levels of symbolic links"),
        ("n" * 300, "File name too long"),
    ],
)
def test_a_context_that_is_not_there_is_refused(
    context: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    (context / "file").touch()
    (context / "dangling").symlink_to("missing")
    (context / "loop").symlink_to("loop")
    monkeypatch.chdir(context)
    with pytest.raises(UsageError, match=message):
        archive_context(Path(name), archive)
    assert not archive.exists()


def test_a_relative_path_is_explained(context: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(context)
    with pytest.raises(UsageError) as caught:
        archive_context(Path("missing"), archive)
    assert str(context) in caught.value.hint


def test_a_destination_that_cannot_be_written_is_an_error_of_ours_and_nothing_else_is_said_of_it(
    context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    with pytest.raises(UsageError, match="No such file or directory"):
        archive_context(context, tmp_path / "missing" / "archive")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Not a directory"):
        archive_context(context, tmp_path / "file" / "archive")
    if Path("/dev/full").exists():
        (context / "noise").write_bytes(random.Random(0).randbytes(1 << 20))
        full = tmp_path / "full"
        full.symlink_to("/dev/full")
        with pytest.raises(
            CustomizerError, match=r"no room for the build context's archive in .* No space left on device"
        ) as caught:
            archive_context(context, full)
        assert caught.value.exit_code == 1
    gc.collect()
    assert unraisable == []


def test_a_file_that_becomes_shorter_while_it_is_read_is_named(context: Path, archive: Path) -> None:
    noise = context / "noise"
    noise.write_bytes(random.Random(0).randbytes(1 << 20))
    os.mkfifo(archive)  # holds some 64 KiB: the archiver waits in the middle of the file

    def drain() -> None:
        with archive.open("rb") as reader:
            reader.read(1)
            os.truncate(noise, 1000)
            while reader.read(1 << 16):
                pass

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    with pytest.raises(UsageError, match=r"noise': it became shorter while it was read"):
        archive_context(context, archive)
    reader.join(10)
    assert not reader.is_alive()
    assert not archive.exists()


def test_memory_does_not_grow_with_the_size_of_files(context: Path, archive: Path) -> None:
    with (context / "large").open("wb") as file:
        file.truncate(48 << 20)
    assert peak_memory(lambda: archive_context(context, archive)) < 2 << 20


def test_memory_hardly_grows_with_the_number_of_files(context: Path, archive: Path) -> None:
    for directory in map(str, range(20)):
        (context / directory).mkdir()
        for file in map(str, range(100)):
            (context / directory / file).touch()
    assert peak_memory(lambda: archive_context(context, archive)) < 1 << 20
