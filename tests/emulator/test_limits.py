"""What one client can take from the emulator: bodies, names, waiting, and the time that a pattern takes."""

import gzip
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from google.cloud.storage import Client
from support.compute_clients import IMAGES, INSTANCES, ZONE, Compute, call
from support.waiting import PATIENCE

from cos_customizer.emulator import front, http_server, limits
from cos_customizer.emulator.compute.filters import parse
from cos_customizer.emulator.errors import ApiError, EmulatorError
from cos_customizer.emulator.logging.filters import parse as parse_log_filter
from cos_customizer.emulator.machines.qemu import QemuBackend
from cos_customizer.emulator.machines.scripted import ScriptedBackend
from cos_customizer.emulator.patterns import Pattern
from cos_customizer.emulator.server import Emulator

BUCKET = "my-project_cloudbuild"
UPLOAD = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x"


def raw(port: int, request: str, content: bytes = b"") -> bytes:
    """The answer to a request as it is written here; it may end before all is sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        head = request.replace("\n", "\r\n").replace(
            "HTTP/1.1", f"HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close"
        )
        client.sendall(head.encode() + b"\r\n\r\n" + content)
        answer = b""
        while more := client.recv(65536):
            answer += more
        return answer


TYPE = "Content-Type: application/octet-stream"
BODIES = [
    # lines of the head, body, status on both ports
    ("Content-Length: 1000000000000", b"", 413),
    ("Content-Length: 99999999999999999999999", b"", 400),
    ("Content-Length: -1", b"", 400),
    ("Content-Length: +5", b"12345", 400),
    ("Content-Length: many", b"", 400),
    ("Content-Length: 1\nContent-Length: 2", b"12", 400),
    ("Content-Length: 4\nTransfer-Encoding: chunked", b"0\r\n\r\n", 400),
    ("Transfer-Encoding: gzip, chunked", b"0\r\n\r\n", 400),
    ("Transfer-Encoding: chunked", b"ffffffffffff\r\n", 413),
    ("Transfer-Encoding: chunked", b"-5\r\n", 400),
    ("Transfer-Encoding: chunked", b"\r\n", 400),
    ("Transfer-Encoding: chunked", b"5\r\n1234567\r\n0\r\n\r\n", 400),
]


@pytest.mark.parametrize("service", ["compute", "storage"])
@pytest.mark.parametrize(("lines", "content", "status"), BODIES, ids=[f"{row[0]} {row[1]!r}" for row in BODIES])
def test_a_body_that_cannot_be_is_refused_before_it_is_read(
    emulator: Emulator, service: str, lines: str, content: bytes, status: int
) -> None:
    port, path = (emulator.port, INSTANCES) if service == "compute" else (emulator.storage_port, UPLOAD)
    answer = raw(port, f"POST {path} HTTP/1.1\n{TYPE}\n{lines}", content)
    assert answer.split(b" ", 2)[1] == str(status).encode()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == status


def test_chunks_make_a_body_on_both_ports(emulator: Emulator) -> None:
    chunks = b"3\r\nabc\r\n2;name=value\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
    assert b"200 OK" in raw(
        emulator.storage_port, f"POST {UPLOAD} HTTP/1.1\n{TYPE}\nTransfer-Encoding: chunked", chunks
    )
    assert Client.create_anonymous_client().bucket(BUCKET).blob("x").download_as_bytes() == b"abcde"
    order = b'{"kind": "silent"}'
    head = "POST /emulator/faults HTTP/1.1\nContent-Type: application/json\nTransfer-Encoding: chunked"
    answer = raw(emulator.port, head, b"%x\r\n%s\r\n0\r\n\r\n" % (len(order), order))
    assert b"200 OK" in answer
    assert emulator.faults.list()[0]["kind"] == "silent"


def test_a_bomb_is_not_unpacked(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator._storage._server, "longest_body", 1 << 20)
    for content, status in ((b"x" * 1000, b"200"), (bytes(2 << 20), b"413")):
        packed = gzip.compress(content)
        head = f"POST {UPLOAD} HTTP/1.1\n{TYPE}\nContent-Encoding: gzip\nContent-Length: {len(packed)}"
        assert raw(emulator.storage_port, head, packed).split(b" ")[1] == status
    head = f"POST {UPLOAD} HTTP/1.1\n{TYPE}\nContent-Encoding: gzip\nContent-Length: 5"
    assert raw(emulator.storage_port, head, b"plain").split(b" ")[1] == b"400"


def test_an_upload_that_stalls_holds_up_nobody(emulator: Emulator) -> None:
    bucket = Client.create_anonymous_client().bucket(BUCKET)
    port = emulator.storage_port
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as slow:
        head = f"POST {UPLOAD} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{TYPE}\r\nContent-Length: 10\r\n\r\n"
        slow.sendall(head.encode() + b"12345")
        blob = bucket.blob("quick")
        blob.upload_from_string("there")
        assert blob.download_as_bytes() == b"there"
        assert not bucket.blob("x").exists()
        slow.sendall(b"67890")
        assert b"200 OK" in slow.recv(65536)
    assert bucket.blob("x").download_as_bytes() == b"1234567890"


def test_a_client_that_falls_silent_is_cut_off(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server.ComputeHandler, "timeout", 0.05)
    head = f"POST {INSTANCES} HTTP/1.1\nContent-Type: application/json\nContent-Length: 10"
    assert raw(emulator.port, head, b"12345") == b""
    monkeypatch.setattr(front.FrontHandler, "timeout", 0.05)
    with socket.create_connection(("127.0.0.1", emulator.port), timeout=PATIENCE) as silent:
        assert silent.recv(1) == b""  # one that never begins
    assert call(emulator, "GET", INSTANCES)[0] == 200


def test_a_head_without_end_is_cut_off(emulator: Emulator) -> None:
    for port in (emulator.port, emulator.storage_port):
        assert b" 414 " in raw(port, f"GET /{'a' * 20000} HTTP/1.1").partition(b"\r\n")[0]
        headers = "\n".join(f"X-{number}: y" for number in range(200))
        assert b" 431 " in raw(port, f"GET / HTTP/1.1\n{headers}").partition(b"\r\n")[0]


def test_the_limit_of_uploads_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.MOST_UPLOAD_MIB, "5")
    assert limits.longest_upload() == 5 << 20
    for wrong in ("much", "0", "-1", "9" * 5000):
        monkeypatch.setenv(limits.MOST_UPLOAD_MIB, wrong)
        with pytest.raises(EmulatorError, match=limits.MOST_UPLOAD_MIB):
            limits.longest_upload()


def test_instances_have_a_limit_that_can_be_set(emulator: Emulator) -> None:
    compute = Compute(emulator)
    order = {"metric": "INSTANCES", "limit": 1}
    assert call(emulator, "POST", "/emulator/quotas", order)[1]["limits"] == [{"metric": "INSTANCES", "limit": 1.0}]
    compute.create("one")
    done = compute.wait(compute.insert("two"))
    (error,) = done.error.errors
    assert (error.code, "INSTANCES" in error.message) == ("QUOTA_EXCEEDED", True)
    assert compute.names("instances") == compute.names("disks") == ["one"]
    compute.stop("one")
    compute.create("two")  # what does not run takes nothing
    restart = compute.instances.start_unary(project="my-project", zone=ZONE, instance="one")
    assert compute.wait(restart).error.errors[0].code == "QUOTA_EXCEEDED"
    call(emulator, "POST", "/emulator/quotas", {"metric": "INSTANCES", "limit": -1})
    compute.ok(compute.instances.start_unary(project="my-project", zone=ZONE, instance="one"))


def test_a_machine_room_has_a_limit_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert QemuBackend.most_machines <= 32  # of 1 GiB each
    monkeypatch.setattr(ScriptedBackend, "most_machines", 1)
    with Emulator(tmp_path) as emulator:
        compute = Compute(emulator)
        compute.create("one")
        assert compute.wait(compute.insert("two")).error.errors[0].code == "QUOTA_EXCEEDED"
        assert compute.names("instances") == ["one"]


SLOW, SUBJECT = "^(a|aa|aaa)*b$", "a" * 60 + "bc"


def test_a_pattern_that_takes_too_long_is_given_up(emulator: Emulator) -> None:
    entry = {"logName": "projects/my-project/logs/l", "resource": {"type": "global"}, "textPayload": SUBJECT}
    assert call(emulator, "POST", "/v2/entries:write", {"entries": [entry]})[0] == 200
    query = {"resourceNames": ["projects/my-project"], "filter": f'textPayload=~"{SLOW}"'}
    status, answer = call(emulator, "POST", "/v2/entries:list", query)
    assert (status, "takes longer than" in answer["error"]["message"]) == (400, True)
    with pytest.raises(ApiError, match="takes longer than"):
        parse(f'name eq "{SLOW}"')({"name": SUBJECT})
    emulator.faults.add("http", path=SLOW.replace("^", "name="))
    status, answer = call(emulator, "GET", f"{IMAGES}?name={SUBJECT}")
    assert (status, "takes longer than" in answer["error"]["message"]) == (400, True)


def test_what_is_no_pattern_is_refused(emulator: Emulator) -> None:
    for wrong in ("(" * 1500, "a" * 2001, "(", "*"):
        with pytest.raises(ValueError, match=r"."):
            Pattern(wrong)
    assert call(emulator, "GET", "/emulator/calls?path=(")[0] == 400
    assert call(emulator, "POST", "/emulator/faults", {"kind": "http", "path": "a" * 3000})[0] == 400


@pytest.mark.parametrize("expression", ["(" * 5000, "NOT " * 4000 + "name = x"])
@pytest.mark.parametrize("reader", [parse, parse_log_filter])
def test_a_filter_that_is_too_deep_is_refused(reader: Callable[[str], object], expression: str) -> None:
    with pytest.raises(ApiError) as caught:
        reader(expression)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("glob", "matches"),
    [("a*" * 2000 + "b", False), ("a*" * 2000, True), ("*", True), ("*a", True), ("a", False), ("b*", False)],
)
def test_stars_take_no_time(glob: str, matches: bool) -> None:
    assert parse(f"name = {glob}")({"name": "a" * 5000}) is matches


def test_many_clients_at_once_are_answered(emulator: Emulator) -> None:
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(call(emulator, "GET", IMAGES)[0])) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 50
