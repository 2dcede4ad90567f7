"""The whole state of a running emulator: removed, saved in a file, and loaded from one; nothing foreign gets in."""

import errno
import hashlib
import http.client
import io
import json
import re
import socket
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1
from google.cloud.storage import Bucket, Client
from support.archives import archive_of
from support.compute_clients import INSTANCES, PROJECT, ZONE, Compute, call
from support.waiting import PATIENCE

from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.registry.store import Manifest
from cos_customizer.emulator.saved_state import archive
from cos_customizer.emulator.saved_state.disk_files import check_disk_file
from cos_customizer.emulator.server import Emulator
from cos_customizer.emulator.services import KEPT, REPLACED, replaced_state, restore_replaced
from cos_customizer.emulator.turnstile import Turnstile

SECRET = f"/v1/projects/{PROJECT}/secrets"
ENTRY = {"logName": f"projects/{PROJECT}/logs/l", "resource": {"type": "global"}, "textPayload": "kept"}
BUCKET = "my-project_cloudbuild"
DIGEST_OF_EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.fixture
def client(emulator: Emulator) -> Client:
    return Client.create_anonymous_client()


def fill(emulator: Emulator, client: Client) -> Compute:
    """Something of each kind."""
    compute = Compute(emulator)
    compute.image("kept", family="kept")
    compute.create("stopped", labels={"a": "b"})
    compute.stop("stopped")
    client.bucket(BUCKET).blob("deep/object").upload_from_string(b"content\0" * 9)
    client.bucket(BUCKET).copy_blob(client.bucket(BUCKET).blob("deep/object"), client.bucket(BUCKET), "copy")
    client.bucket(BUCKET).blob("empty").upload_from_string(b"")
    assert call(emulator, "POST", f"{SECRET}?secretId=s", {"replication": {"automatic": {}}})[0] == 200
    assert call(emulator, "POST", f"{SECRET}/s:addVersion", {"payload": {"data": "dmFsdWU="}})[0] == 200
    assert call(emulator, "POST", "/v2/entries:write", {"entries": [ENTRY]})[0] == 200
    return compute


def push(emulator: Emulator) -> None:
    """An image of a container in the registry."""
    images = emulator._services.images
    images.add(DIGEST_OF_EMPTY, io.BytesIO(b"{}"))
    layer = {"digest": DIGEST_OF_EMPTY, "size": 2, "mediaType": "application/octet-stream"}
    content = json.dumps({"schemaVersion": 2, "config": layer, "layers": [layer]}).encode()
    images.put_manifest("gcr.io/my-project/app", Manifest("application/json", content), "1")


def check(emulator: Emulator, client: Client, compute: Compute) -> None:
    assert compute.images.get_from_family(project=PROJECT, family="kept").name == "kept"
    vm = compute.instances.get(project=PROJECT, zone=ZONE, instance="stopped")
    assert (vm.status, dict(vm.labels)) == ("TERMINATED", {"a": "b"})
    for name in ("deep/object", "copy"):  # one file on disk
        assert client.bucket(BUCKET).blob(name).download_as_bytes() == b"content\0" * 9
    assert client.bucket(BUCKET).blob("empty").download_as_bytes() == b""
    assert call(emulator, "GET", f"{SECRET}/s/versions/1:access")[1]["payload"]["data"] == "dmFsdWU="
    assert [each["textPayload"] for each in emulator.logs.entries(PROJECT)] == ["kept"]
    images = emulator._services.images
    assert images.tag("gcr.io/my-project/app", "1")[0]
    assert images.blob(DIGEST_OF_EMPTY)


def saved(emulator: Emulator) -> bytes:
    file = io.BytesIO()
    emulator.save(file)
    return file.getvalue()


def test_a_reset_removes_everything_and_the_same_ports_answer(emulator: Emulator, client: Client) -> None:
    compute = fill(emulator, client)
    push(emulator)
    compute.create("running")
    emulator.faults.add("silent")
    client.create_bucket("another-bucket", project=PROJECT)
    assert call(emulator, "POST", "/emulator/reset") == (200, {})
    assert [compute.names(kind) for kind in ("images", "disks", "instances")] == [[], [], []]
    assert [bucket.name for bucket in client.list_buckets(project=PROJECT)] == [BUCKET]
    assert list(client.list_blobs(BUCKET)) == []
    assert call(emulator, "GET", SECRET)[1]["totalSize"] == 0
    assert (emulator.logs.entries(PROJECT), emulator.faults.list(), emulator.scripts.list()) == ([], [], [])
    assert emulator.status()["containerImages"] == {"repositories": 0, "bytes": 0}
    assert compute.create("again").status == "RUNNING"
    emulator.clock.advance(10)


def test_what_is_saved_is_there_after_a_load(emulator: Emulator, client: Client, tmp_path: Path) -> None:
    compute = fill(emulator, client)
    push(emulator)
    content = saved(emulator)
    emulator.reset()
    compute.image("lost")
    emulator.load(io.BytesIO(content))
    check(emulator, client, compute)
    assert compute.names("images") == ["kept"]
    with Emulator(tmp_path / "other") as other:
        other.load(io.BytesIO(content))
        assert other.get(f"projects/{PROJECT}/global/images/kept")["status"] == "READY"


def test_a_loaded_state_is_that_of_the_next_emulator(tmp_path: Path) -> None:
    with Emulator(tmp_path / "first") as first:
        Compute(first).image("kept")
        content = saved(first)
    with Emulator(tmp_path / "second") as second:
        second.load(io.BytesIO(content))
    with Emulator(tmp_path / "second") as third:
        assert Compute(third).names("images") == ["kept"]
    assert sorted(path.name for path in (tmp_path / "second").glob(".*")) == []


def test_nothing_is_saved_while_something_goes_on(emulator: Emulator) -> None:
    compute = Compute(emulator)
    compute.create("vm")
    with pytest.raises(EmulatorError, match=r"a VM runs: projects/my-project/zones/us-west1-b/instances/vm") as refused:
        saved(emulator)
    assert "stop" in refused.value.hint
    compute.stop()
    emulator.faults.add("operation", method="insert", seconds=1000)
    compute.insert_image("slow")
    with pytest.raises(EmulatorError, match="insert of projects/my-project/global/images/slow is under way"):
        saved(emulator)


def test_requests_wait_while_the_state_is_replaced(emulator: Emulator) -> None:
    with emulator._turnstile.closed(), pytest.raises(EmulatorError, match="already"), emulator._turnstile.closed():
        pass
    assert call(emulator, "GET", INSTANCES)[0] == 200


def test_a_request_that_waits_for_an_operation_does_not_hold_up_a_reset(emulator: Emulator) -> None:
    compute = Compute(emulator)
    emulator.faults.add("operation", method="insert", seconds=1000)
    compute.insert_image("slow")
    emulator.faults.add("hold", path="/global/images", count=1)
    waiting = threading.Thread(target=lambda: call(emulator, "GET", f"/compute/v1/projects/{PROJECT}/global/images"))
    waiting.start()
    emulator.reset()
    waiting.join(30)
    assert not waiting.is_alive()
    assert compute.names("images") == []


def repacked(content: bytes, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]) -> bytes:
    """An archive with members changed, and with a good checksum."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as archived:
        for info in archived.getmembers():
            file = archived.extractfile(info) if info.isreg() else None
            data = file.read() if file else b""
            if info.name == "end.json":
                data = json.dumps({"sha256": hashlib.sha256(out.getvalue()).hexdigest()}).encode()
            if (changed := change(info, data)) is None:
                continue
            info, data = changed
            info.size = len(data)
            out.write(info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512))
    return out.getvalue() + bytes(1024)


def renamed(old: str, new: str, **fields: object) -> Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]:
    def change(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if info.name == old:
            info.name = new
            for name, value in fields.items():
                setattr(info, name, value)
        return info, data

    return change


def replacing(name: str, old: bytes, new: bytes) -> Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]:
    return lambda info, data: (info, data.replace(old, new) if info.name == name else data)


BUCKET_NAME, HUGE = b'"name": "my-project_cloudbuild"', b'"name": ' + b"9" * 30

BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda _: b"", "no state that"),
    "text": (lambda _: b"hello\n" * 1000, "no state that"),
    "zeros": (lambda content: bytes(10240), "no state that"),
    "another tar": (lambda content: repacked(content, renamed("state.json", "compute.jsonl")), "no state that"),
    "half": (lambda content: content[: len(content) // 2 // 512 * 512], "ends early|end is missing"),
    "without its end": (lambda c: repacked(c, lambda i, d: None if i.name == "end.json" else (i, d)), "end is missing"),
    "a flipped bit": (lambda c: c.replace(b'"textPayload', b'"textPayloae'), "checksum"),
    "later": (lambda c: repacked(c, replacing("state.json", b'"version": 1', b'"version": 2')), "later version"),
    "other machines": (lambda c: repacked(c, replacing("state.json", b"scripted", b"qemu")), "qemu machines"),
    "a name that leads away": (lambda c: repacked(c, renamed("logs.jsonl", "../../logs.jsonl")), "no place in it"),
    "a symbolic link": (lambda c: repacked(c, renamed("logs.jsonl", "logs.jsonl", type=tarfile.SYMTYPE)), "no place"),
    "a foreign member": (lambda c: repacked(c, renamed("logs.jsonl", "more.jsonl")), "no place in it"),
    "no JSON": (lambda c: repacked(c, replacing("compute.jsonl", b"{", b"[")), "no JSON"),
    "no resources": (lambda c: repacked(c, replacing("compute.jsonl", b'"resource"', b'"source"')), "damaged"),
    "odd resources": (
        lambda c: repacked(c, replacing("compute.jsonl", b'"status"', b'"stutus"')),
        "cannot be taken up",
    ),
    "an id that leads away": (
        lambda c: repacked(c, lambda i, d: (i, re.sub(rb'"id": "[0-9]+"', b'"id": "/tmp/x"', d))),
        "the id of projects/.* is '/tmp/x'",
    ),
    "a number without end": (lambda c: repacked(c, replacing("storage/buckets.jsonl", BUCKET_NAME, HUGE)), "damaged"),
    "a foreign bucket": (lambda c: repacked(c, replacing("storage/buckets.jsonl", b"my-", b"other-")), "damaged"),
    "no log entry": (
        lambda c: repacked(c, lambda i, d: (i, re.sub(rb'"{.*}"', b'"x"', d) if i.name == "logs.jsonl" else d)),
        "damaged",
    ),
    "odd secrets": (lambda c: repacked(c, replacing("secrets.jsonl", b'"values"', b'"valves"')), "secrets"),
    "a missing content": (
        lambda c: repacked(c, lambda i, d: None if i.name.startswith("storage/contents") else (i, d)),
        "damaged",
    ),
    "a lost blob": (lambda c: repacked(c, replacing("registry/blobs/" + DIGEST_OF_EMPTY, b"{}", b"[]")), "container"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_no_whole_state_changes_nothing(emulator: Emulator, client: Client, case: str) -> None:
    compute = fill(emulator, client)
    push(emulator)
    spoil, words = BAD[case]
    with pytest.raises(EmulatorError, match=words):
        emulator.load(io.BytesIO(spoil(saved(emulator))))
    check(emulator, client, compute)
    assert [path.name for path in emulator._state_dir.glob(".*")] == []


def qcow2(backing: bytes = b"", features: int = 0) -> bytes:
    head = b"QFI\xfb" + (3).to_bytes(4) + (512 if backing else 0).to_bytes(8) + len(backing).to_bytes(4)
    return (head.ljust(72, b"\0") + features.to_bytes(8)).ljust(512, b"\0") + backing


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"disk-1.qcow2": qcow2(b"disk-1.base"), "disk-1.base": qcow2()}, ""),
        ({"disk-1.qcow2": qcow2()}, ""),
        ({"disk-1.qcow2": b"raw"}, "no qcow2"),
        ({"disk-1.qcow2": qcow2(b"disk-1.base")}, "stands on other files"),
        ({"disk-1.qcow2": qcow2(b"/etc/passwd")}, "stands on other files .'/etc/passwd'."),
        ({"disk-1.qcow2": qcow2(b"json:{}")}, "stands on other files"),
        ({"disk-1.qcow2": qcow2(features=4)}, "stands on other files"),
        ({"disk-1.qcow2": qcow2(b"disk-1.base"), "disk-1.base": qcow2(b"/etc/passwd")}, "disk-1.base stands on other"),
        ({"disk-1.base": qcow2(b"disk-1.base")}, "stands on other files"),
    ],
)
def test_a_disk_that_leads_to_other_files_is_refused(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    refused = []
    for name in files:
        try:
            check_disk_file(tmp_path / name)
        except EmulatorError as error:
            refused.append(str(error))
    assert bool(refused) is bool(words)
    assert not words or re.search(words, refused[0])


def test_two_names_of_one_file_take_its_place_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 5000)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    file = io.BytesIO()
    writer = archive.ArchiveWriter(file, {"machines": "qemu"})
    writer.add_file("machines/images/image-1.qcow2", tmp_path / "a")
    writer.add_file("machines/disks/disk-1.base", tmp_path / "b")
    writer.end()
    reader = archive.ArchiveReader(io.BytesIO(file.getvalue()))
    found = [(member.name, member.link, len(member.read_all())) for member in reader.members()]
    assert found == [
        ("machines/images/image-1.qcow2", "", 5000),
        ("machines/disks/disk-1.base", "machines/images/image-1.qcow2", 0),
    ]


@pytest.fixture
def states(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("old", "new"):
        (tmp_path / name / "storage").mkdir(parents=True)
        (tmp_path / name / "storage" / "file").write_text(name)
        (tmp_path / name / "compute.sqlite").write_text(name)
    (tmp_path / "new" / "secrets.json").write_text("new")
    return tmp_path / "old", tmp_path / "new"


def names_of(directory: Path) -> dict[str, str]:
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return {str(path.relative_to(directory)): path.read_text() for path in files}


@pytest.mark.parametrize("moved", range(6))
def test_a_killed_load_leaves_the_state_before(
    states: tuple[Path, Path], moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after so many moves: nothing runs after that, and the next start puts things right."""
    old, new = states
    before = names_of(old)
    rename, count = Path.rename, 0

    class Killed(BaseException):
        pass

    def counted(self: Path, target: Path) -> Path:
        nonlocal count
        if count == moved:
            raise Killed
        count += 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", counted)
        patch.setattr("cos_customizer.emulator.services.restore_replaced", lambda _: None)
        with pytest.raises(Killed), replaced_state(old, new):
            pass
    restore_replaced(old)
    assert names_of(old) == before
    assert not (old / REPLACED).exists()


def test_what_a_killed_emulator_was_putting_together_is_gone_and_a_running_one_is_not_disturbed(tmp_path: Path) -> None:
    for name in (".staging.x", f"{REPLACED}.1"):
        (tmp_path / name).mkdir()
    with Emulator(tmp_path) as emulator:
        assert [path.name for path in tmp_path.glob(".*")] == []
        (tmp_path / ".staging.y").mkdir()
        with pytest.raises(EmulatorError, match="another emulator uses"):
            Emulator(tmp_path)
        assert (tmp_path / ".staging.y").exists()
        assert Compute(emulator).names("images") == []


def test_a_load_that_came_to_its_end_stays(states: tuple[Path, Path]) -> None:
    old, new = states
    wanted = names_of(new)
    with replaced_state(old, new):
        pass
    restore_replaced(old)
    assert names_of(old) == wanted
    assert set(wanted) <= {"compute.sqlite", "storage/file", "secrets.json"} <= {*KEPT, "storage/file"}


def test_the_state_goes_over_http_in_pieces(emulator: Emulator, client: Client) -> None:
    fill(emulator, client)
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=60)
    connection.request("GET", "/emulator/state")
    answer = connection.getresponse()
    content = answer.read()
    assert (answer.status, content[:10]) == (200, b"state.json")
    emulator.reset()
    connection.request("PUT", "/emulator/state", content)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"{}")
    connection.request("GET", "/healthz")  # of the same connection
    assert connection.getresponse().status == 200
    assert Compute(emulator).names("images") == ["kept"]
    for sent, words in ((content[:-2048], "damaged"), (b"x" * (20 << 20), "no state that")):
        connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=60)
        connection.request("PUT", "/emulator/state", sent)
        answer = connection.getresponse()
        error = json.load(answer)["error"]
        assert (answer.status, words in error["message"]) == (400, True), error
    assert Compute(emulator).names("images") == ["kept"]


def test_a_full_disk_is_said_and_changes_nothing(
    emulator: Emulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = fill(emulator, client)
    push(emulator)
    content = saved(emulator)

    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(EmulatorError, match=r"no room for the state: .*No space left"):
        emulator.save(Full())
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL

    def fail(*_: object) -> NoReturn:
        raise full

    monkeypatch.setattr(archive.Member, "write_to", fail)
    with pytest.raises(EmulatorError, match="no room for the state: database or disk is full"):
        emulator.load(io.BytesIO(content))
    check(emulator, client, compute)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_what_follows_a_state_is_no_request(emulator: Emulator, method: str) -> None:
    host = f"HTTP/1.1\r\nHost: 127.0.0.1:{emulator.port}\r\n"
    inner = f"GET {INSTANCES} {host}\r\n".encode()
    content = (saved(emulator) if method == "PUT" else b"") + inner
    head = f"{method} /emulator/state {host}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", emulator.port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode() + content)
        connection.shutdown(socket.SHUT_WR)
        connection.makefile("rb").read()
    assert emulator.calls.count(path=INSTANCES) == 0


def test_nothing_is_closed_before_there_is_room_for_the_way_back(
    emulator: Emulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = fill(emulator, client)
    push(emulator)
    content = saved(emulator)

    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", fail)
    for replace in (emulator.reset, lambda: emulator.load(io.BytesIO(content))):
        with pytest.raises(EmulatorError, match="no room for the state"):
            replace()
        check(emulator, client, compute)


@pytest.mark.vm
def test_disks_and_images_are_loaded_with_their_contents(tmp_path: Path) -> None:
    brought = archive_of(tmp_path)
    with Emulator(tmp_path / "first", "qemu", cache_dir=default_cache_dir()) as first:
        compute, bucket = Compute(first), bucket_of(first)
        bucket.blob("disk.tar.gz").upload_from_filename(brought)
        source = compute_v1.RawDisk(source=f"https://storage.googleapis.com/{BUCKET}/disk.tar.gz")
        compute.ok(compute.insert_image("brought", source_image=None, raw_disk=source))
        disk = compute_v1.Disk(name="d", source_image=f"projects/{PROJECT}/global/images/brought")
        compute.ok(compute.disks.insert_unary(project=PROJECT, zone=ZONE, disk_resource=disk))
        content = saved(first)
    with Emulator(tmp_path / "second", "qemu", cache_dir=default_cache_dir()) as second:
        second.load(io.BytesIO(content))
        compute = Compute(second)
        compute.ok(compute.insert_image("again", source_image=None, source_disk=f"zones/{ZONE}/disks/d"))
        compute.ok(compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk="d"))
        target = {"image": f"projects/{PROJECT}/global/images/again", "destination": f"gs://{BUCKET}/again.tar.gz"}
        assert call(second, "POST", "/emulator/exports", target)[0] == 200
        bucket_of(second).blob("again.tar.gz").download_to_filename(tmp_path / "again.tar.gz")
    with tarfile.open(tmp_path / "again.tar.gz") as archived:
        exported = archived.extractfile("disk.raw")
        assert exported is not None
        assert exported.read(10) == b"begin".ljust(10, b"\0")


def bucket_of(emulator: Emulator) -> Bucket:
    address = {"api_endpoint": emulator.environment()["STORAGE_EMULATOR_HOST"]}
    return Client(PROJECT, AnonymousCredentials(), client_options=address).bucket(BUCKET)  # type: ignore[no-untyped-call]


def test_once_the_way_is_shut_nobody_passes_and_who_is_inside_ends() -> None:
    turnstile = Turnstile()
    with turnstile.passing():
        turnstile.shut()
        with pytest.raises(ConnectionAbortedError), turnstile.passing():
            raise AssertionError
    with pytest.raises(ConnectionAbortedError), turnstile.passing():
        raise AssertionError
