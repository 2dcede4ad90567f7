"""Build contexts that are archives already, here or in Cloud Storage: looked through as a directory would be."""

import gzip
import hashlib
import io
import os
import random
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from support.memory import peak_memory

from cos_customizer.customizer.context import archive_context, read_archive
from cos_customizer.customizer.errors import CustomizerError, NotFoundError, PermissionDeniedError, UsageError
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.reporting.events import Event, Note, listening
from cos_customizer.customizer.spec.model import BuildContext
from cos_customizer.customizer.spec.steps.install_gpu import InstallGpu
from cos_customizer.customizer.spec.steps.kinds import Step
from cos_customizer.customizer.spec.steps.run_script import RunScript
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import scratch
from cos_customizer.gcp.clients import Clients, connect
from cos_customizer.gcp.context import Archive, check_directory, prepare_archive

BUCKET = "my-project_cloudbuild"
URL = f"gs://{BUCKET}/contexts/my context.tar.gz"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with what contexts are made of."""
    directory = tmp_path / "files"
    (directory / "lib").mkdir(parents=True)
    (directory / "main.sh").write_text("echo main\n")
    (directory / "lib" / "Größe.sh").write_text("true\n")
    (directory / "link.sh").symlink_to("main.sh")
    os.link(directory / "main.sh", directory / "other.sh")
    return directory


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """Where an archive may be made."""
    (tmp_path / "room").mkdir()
    return tmp_path / "room"


@pytest.fixture
def clients(emulator: Emulator) -> Clients:
    return connect()


def tarred(files: Path, archive: Path) -> Path:
    """An archive as people make one."""
    subprocess.run(["tar", "-czf", archive, "-C", files, "."], check=True)
    return archive


def made_of(archive: Path, *members: tuple[str, bytes, str]) -> Path:
    """An archive of members with these names, types and links."""
    with tarfile.open(archive, "w:gz") as tar:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            tar.addfile(member, io.BytesIO())
    return archive


def steps(*scripts: str) -> list[Step]:
    return [RunScript(script=script) for script in scripts]


def stored(clients: Clients, content: bytes, url: str = URL) -> str:
    bucket, _, name = url.removeprefix("gs://").partition("/")
    clients.storage.bucket(bucket).blob(name).upload_from_string(content, "application/gzip")
    return url


def test_an_archive_is_found_to_hold_what_was_put_into_it(files: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    made = archive_context(files, archive)
    assert read_archive(archive, "a") == made


def test_an_archive_that_tar_made_is_one(files: Path, tmp_path: Path) -> None:
    archive = tarred(files, tmp_path / "a.tgz")
    found = read_archive(archive, "a")
    assert found.files == ("lib/Größe.sh", "link.sh", "main.sh", "other.sh")
    assert found.sha256 == hashlib.sha256(gzip.decompress(archive.read_bytes())).hexdigest()  # as the guest takes it


def test_memory_is_flat_when_an_archive_is_read(tmp_path: Path) -> None:
    content = random.Random(0)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "large").write_bytes(content.randbytes(1 << 20) * 32)
    for number in range(2000):
        (tmp_path / "files" / f"file-{number}").touch()
    archive_context(tmp_path / "files", tmp_path / "a.tar.gz")
    assert peak_memory(lambda: read_archive(tmp_path / "a.tar.gz", "a")) < 4 << 20


MEMBERS = [
    (("/etc/x.sh", tarfile.REGTYPE, ""), "leads out of it: '/etc/x.sh'"),
    (("../x.sh", tarfile.REGTYPE, ""), "leads out of it: '../x.sh'"),
    (("a/../x.sh", tarfile.REGTYPE, ""), "leads out of it: 'a/../x.sh'"),
    (("x.sh", tarfile.LNKTYPE, "/etc/passwd"), "leads out of it: '/etc/passwd'"),
    (("pipe", tarfile.FIFOTYPE, ""), "'pipe' is neither a file, a directory nor a link"),
    (("disk", tarfile.BLKTYPE, ""), "'disk' is neither"),
]


@pytest.mark.parametrize(("member", "message"), MEMBERS, ids=[message for _, message in MEMBERS])
def test_a_member_that_leads_out_is_refused(member: tuple[str, bytes, str], message: str, tmp_path: Path) -> None:
    archive = made_of(tmp_path / "a.tar.gz", ("ok.sh", tarfile.REGTYPE, ""), member)
    with pytest.raises(UsageError) as caught:
        read_archive(archive, "gs://b/a")
    assert caught.value.message.startswith("build context gs://b/a")
    assert message in caught.value.message


def test_a_link_may_point_anywhere(tmp_path: Path) -> None:
    archive = made_of(tmp_path / "a.tar.gz", ("l", tarfile.SYMTYPE, "/etc/os-release"), ("m", tarfile.LNKTYPE, "l"))
    assert read_archive(archive, "a").files == ("l", "m")


def test_what_is_no_archive_is_refused(files: Path, tmp_path: Path) -> None:
    sound = tarred(files, tmp_path / "sound.tar.gz").read_bytes()
    large = gzip.compress(random.Random(0).randbytes(100_000))
    contents = {
        "text": b"echo hello\n",
        "empty": b"",
        "plain tar": gzip.decompress(sound),
        "no tar": gzip.compress(b"hello " * 1000),
        "nothing in it": gzip.compress(b""),
        "random": large,
        "cut off": sound[:-20],
        "changed": sound[:40] + bytes([sound[40] ^ 255]) + sound[41:],
        "more behind": sound + b"more",
    }
    for what, content in contents.items():
        (tmp_path / "a.tar.gz").write_bytes(content)
        with pytest.raises(UsageError, match="build context gs://b/a is not a gzipped tar archive, or is damaged: "):
            raise AssertionError(what, read_archive(tmp_path / "a.tar.gz", "gs://b/a"))


def test_an_archive_in_cloud_storage_is_fetched_and_looked_through(files: Path, room: Path, clients: Clients) -> None:
    made = archive_context(files, room.parent / "a.tar.gz")
    url = stored(clients, (room.parent / "a.tar.gz").read_bytes())
    for digest in (None, made.sha256):
        context = BuildContext(path=url, sha256=digest)
        archive = prepare_archive(clients, context, steps("main.sh", "link.sh"), room)
        assert archive == Archive(room / "context.tar.gz", made.sha256)
        assert archive.path.read_bytes() == (room.parent / "a.tar.gz").read_bytes()
    with pytest.raises(UsageError, match=r"could not find script man\.sh in build context gs://") as caught:
        prepare_archive(clients, BuildContext(path=url), steps("main.sh", "man.sh"), room)
    assert "main.sh" in caught.value.hint
    with pytest.raises(UsageError, match=f"has digest {made.sha256}, not 0000"):
        prepare_archive(clients, BuildContext(path=url, sha256="0" * 64), steps("main.sh"), room)


def test_an_object_that_is_not_there_or_not_for_us_is_said(
    room: Path, clients: Clients, emulator: Emulator, files: Path
) -> None:
    with pytest.raises(NotFoundError, match=f"could not fetch {URL}: there is no such object"):
        prepare_archive(clients, BuildContext(path=URL), [], room)
    with pytest.raises(NotFoundError, match="there is no bucket no-such-bucket"):
        prepare_archive(clients, BuildContext(path="gs://no-such-bucket/a.tgz"), [], room)
    stored(clients, tarred(files, room.parent / "a.tgz").read_bytes())
    emulator.faults.add("http", method="GET", path=f"/storage/v1/b/{BUCKET}/o/.*", status=403, reason="forbidden")
    with pytest.raises(PermissionDeniedError, match="could not fetch gs://") as caught:
        prepare_archive(clients, BuildContext(path=URL), [], room)
    assert f"roles/storage.objectViewer on bucket {BUCKET}" in caught.value.hint
    assert list(room.iterdir()) == []


FAULTS_THAT_PASS: dict[str, dict[str, Any]] = {
    "503": {"kind": "http"},
    "too many calls": {"kind": "http", "status": 403, "reason": "rateLimitExceeded"},
    "dropped": {"kind": "drop"},
}


@pytest.mark.parametrize("fault", FAULTS_THAT_PASS.values(), ids=FAULTS_THAT_PASS)
def test_a_transfer_that_goes_wrong_is_begun_again(
    fault: dict[str, Any], room: Path, clients: Clients, emulator: Emulator, files: Path
) -> None:
    (files / "large").write_bytes(random.Random(0).randbytes(9 << 20))  # uploaded in two pieces
    archive = tarred(files, room.parent / "a.tgz")
    for method in ("POST", "PUT"):
        emulator.faults.add(**fault, method=method, path="/upload/storage/.*")
    scratch.upload(clients, ObjectRef(BUCKET, URL.removeprefix(f"gs://{BUCKET}/")), archive, {}, time.time() + 60)
    emulator.faults.add(**fault, method="GET", path="/download/storage/.*")
    prepare_archive(clients, BuildContext(path=URL), steps("main.sh"), room)
    assert (room / "context.tar.gz").read_bytes() == archive.read_bytes()
    assert emulator.faults.list() == []


@pytest.mark.parametrize("fault", FAULTS_THAT_PASS.values(), ids=FAULTS_THAT_PASS)
def test_an_object_of_one_piece_is_stored_all_the_same(
    fault: dict[str, Any], clients: Clients, emulator: Emulator
) -> None:
    emulator.faults.add(**fault, method="POST", path="/upload/storage/.*", count=2)
    scratch.upload(clients, ObjectRef(BUCKET, "serial.log"), io.BytesIO(b"said"), {}, time.time() + 60)
    assert clients.storage.bucket(BUCKET).blob("serial.log").download_as_bytes() == b"said"
    assert emulator.faults.list() == []


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz"])
def test_a_file_that_is_an_archive_by_its_name_is_one(name: str, files: Path, room: Path, clients: Clients) -> None:
    archive = tarred(files, room.parent / name)
    found = prepare_archive(clients, BuildContext(path=str(archive)), steps("main.sh"), room)
    assert found.path == archive
    assert list(room.iterdir()) == []
    archive.write_text("echo\n")
    with pytest.raises(UsageError, match="is not a gzipped tar archive"):
        prepare_archive(clients, BuildContext(path=str(archive)), [], room)


def test_other_files_and_any_directory_are_archived(files: Path, room: Path, clients: Clients) -> None:
    one = prepare_archive(clients, BuildContext(path=str(files / "main.sh")), steps("main.sh"), room)
    assert read_archive(one.path, "one").files == ("main.sh",)
    directory = files.rename(files.parent / "files.tar.gz")
    all_of_it = prepare_archive(clients, BuildContext(path=str(directory)), steps("link.sh"), room)
    assert "lib/Größe.sh" in read_archive(all_of_it.path, "all").files
    for missing in ("nothing", "nothing.tar.gz"):
        with pytest.raises(UsageError, match=r"^context\.path: .*nothing.* does not exist"):
            prepare_archive(clients, BuildContext(path=str(room.parent / missing)), [], room)


@pytest.mark.parametrize("path", ["a\0b", "n" * 300, "n/" * 3000, "gs://bucket/a\0b.tgz"])
def test_a_path_that_no_file_can_have_is_told(path: str, room: Path, clients: Clients) -> None:
    with pytest.raises(CustomizerError) as caught:
        prepare_archive(clients, BuildContext(path=path), [], room)
    assert "ValueError" not in caught.value.message


def test_a_drivers_file_must_be_in_the_archive_too(files: Path, room: Path, clients: Clients) -> None:
    driver = InstallGpu(version="NVIDIA-Linux-x86_64-450.51.06.run", deps_dir="gpu")
    with pytest.raises(UsageError, match="there are no files in 'gpu' in the build context"):
        prepare_archive(clients, BuildContext(path=str(tarred(files, room.parent / "a.tgz"))), [driver], room)


@pytest.mark.parametrize("packed", [False, True])
def test_scripts_are_looked_at_before_anything_is_made(packed: bool, files: Path, room: Path, clients: Clients) -> None:
    (files / "empty.sh").touch()
    (files / "program.sh").write_bytes(b"\x7fELF\2\1\1\0\0")
    path = str(tarred(files, room.parent / "a.tgz") if packed else files)
    heard: list[Event] = []
    with listening(heard.append):
        prepare_archive(clients, BuildContext(path=path), steps("main.sh", "link.sh", "empty.sh"), room)
    assert heard == [Note("script", "empty.sh is empty: it does nothing", "warning")]
    with pytest.raises(UsageError, match=r"^program\.sh is a program \(ELF\): bash cannot run it$"):
        prepare_archive(clients, BuildContext(path=path), steps("program.sh"), room)


def test_a_directory_is_looked_into_before_it_is_archived(files: Path) -> None:
    context = BuildContext(path=str(files))
    check_directory(context, steps("main.sh", "link.sh"))
    with pytest.raises(UsageError, match=r"could not find script lib/maim\.sh"):
        check_directory(context, steps("main.sh", "lib/maim.sh"))
    (files / "main.sh").write_text("#!/usr/bin/env python3\n")
    with pytest.raises(UsageError, match=r"main\.sh is written for python3"):
        check_directory(context, steps("main.sh"))
    with pytest.raises(UsageError, match="does not exist"):
        check_directory(BuildContext(path=str(files / "none")), steps("main.sh"))


def test_what_only_an_archive_has_is_left_to_the_build(files: Path, room: Path) -> None:
    os.mkfifo(files / "pipe.sh")
    check_directory(BuildContext(path=str(files)), steps("pipe.sh"))
    (files / "pipe.sh").unlink()
    for path in (str(tarred(files, room / "context.tar.gz")), URL):
        check_directory(BuildContext(path=path), steps("nowhere.sh"))
