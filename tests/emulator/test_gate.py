"""The doors of the emulator's services: programs of this machine come in, web pages do not."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import pytest
from google.cloud.storage import Client
from support.compute_clients import INSTANCES, body, call
from support.waiting import PATIENCE

from cos_customizer.emulator.machines.backend import MachineSpec
from cos_customizer.emulator.machines.metadata_server import MetadataServer
from cos_customizer.emulator.server import Emulator

JSON = {"Content-Type": "application/json"}
METADATA = "/computeMetadata/v1/instance/name"
BUCKET = "/storage/v1/b/my-project_cloudbuild"
_BATCH = (
    b"--x\r\nContent-Type: application/http\r\n\r\nGET /compute/v1/projects/my-project HTTP/1.1\r\n\r\n\r\n--x--\r\n"
)
SERVICES = {
    "Compute Engine": ("GET", INSTANCES),
    "Cloud Logging": ("GET", "/v2/projects/my-project/logs"),
    "the emulator's own API": ("GET", "/emulator/status"),
    "batches": ("POST", "/batch/compute/v1"),
    "Cloud Storage": ("GET", f"{BUCKET}/o"),
    "Secret Manager": ("GET", "/v1/projects/my-project/secrets"),
    "the registry": ("GET", "/v2/"),
    "the registry of guests": ("GET", "/certificate"),
    "the metadata server": ("GET", METADATA),
}


def ask(
    port: int, method: str, path: str, headers: Mapping[str, str], content: bytes | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """A request with these headers alone (and a length): status, body and headers of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if content is not None:
            connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.msg
    finally:
        connection.close()


@pytest.fixture
def metadata_port() -> Iterator[int]:
    server = MetadataServer(MachineSpec("my-project", "us-west1-b", "vm", "1", "disk"))
    yield server.start()
    server.stop()


@pytest.fixture
def ports(emulator: Emulator, metadata_port: int) -> dict[str, int]:
    others = {"Cloud Storage": emulator.storage_port, "the metadata server": metadata_port}
    others |= {"the registry": emulator.registry_port, "the registry of guests": emulator.registry_guest_port}
    return {name: others.get(name, emulator.port) for name in SERVICES}


PAGES: list[tuple[dict[str, str], str]] = [
    # headers that a browser sends (PORT is the service's), words of the refusal
    ({"Host": "evil.example"}, "Host is evil.example"),
    ({"Host": "evil.example:PORT"}, "Host is evil.example:PORT"),
    ({"Host": "127.0.0.1"}, "Host is 127.0.0.1,"),
    ({"Host": "127.0.0.1:1"}, "Host is 127.0.0.1:1,"),
    ({"Host": "127.0.0.1:PORT.evil.example"}, "Host is"),
    ({"Host": "0.0.0.0:PORT"}, "Host is 0.0.0.0"),
    ({}, "Host is missing"),
    ({"Host": "localhost:PORT", "Origin": "https://evil.example"}, "a page of https://evil.example"),
    ({"Host": "127.0.0.1:PORT", "Origin": "null"}, "a page of null"),
    ({"Host": "127.0.0.1:PORT", "Origin": "http://127.0.0.1:1"}, "a page of http://127.0.0.1:1"),
    ({"Host": "127.0.0.1:PORT", "Origin": "https://127.0.0.1:PORT"}, "a page of https://127.0.0.1:PORT"),
    ({"Host": "127.0.0.1:PORT", "Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site is cross-site"),
    ({"Host": "127.0.0.1:PORT", "Sec-Fetch-Site": "same-site"}, "Sec-Fetch-Site is same-site"),
    ({"Host": "127.0.0.1:PORT", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}, "another page"),
]


@pytest.mark.parametrize(("headers", "words"), PAGES, ids=[f"{row[0]}" for row in PAGES])
def test_no_service_answers_a_web_page(ports: dict[str, int], headers: dict[str, str], words: str) -> None:
    for service, (method, path) in SERVICES.items():
        port = ports[service]
        sent = {name: value.replace("PORT", str(port)) for name, value in headers.items()}
        more = {"Metadata-Flavor": "Google", "Content-Type": "multipart/mixed; boundary=x"}
        status, content, answered = ask(port, method, path, {**sent, **more})
        assert status == 403, service
        error = json.loads(content)["error"]
        assert (error["code"], error["status"]) == (403, "PERMISSION_DENIED"), service
        assert words.replace("PORT", str(port)) in error["message"], service
        assert not [name for name in answered if name.lower().startswith("access-control-")], service


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
def test_every_service_answers_under_its_own_names(ports: dict[str, int], host: str) -> None:
    for service, (method, path) in SERVICES.items():
        headers = {"Host": f"{host}:{ports[service]}", "Metadata-Flavor": "Google", "Sec-Fetch-Site": "none"}
        if method == "POST":
            headers["Content-Type"] = "multipart/mixed; boundary=x"
        status, _, answered = ask(ports[service], method, path, headers, _BATCH if method == "POST" else None)
        assert status == 200, service
        assert answered["X-Content-Type-Options"] == "nosniff"
        assert answered["Content-Security-Policy"].startswith("sandbox")


@pytest.mark.parametrize("service", SERVICES)
def test_no_page_is_told_that_it_may_ask(ports: dict[str, int], service: str) -> None:
    port = ports[service]
    for origin in ("https://evil.example", f"http://127.0.0.1:{port}"):
        headers = {"Host": f"127.0.0.1:{port}", "Origin": origin, "Access-Control-Request-Method": "POST"}
        status, _, answered = ask(port, "OPTIONS", SERVICES[service][1], headers)
        assert status != 200 or origin.endswith(str(port))
        assert not [name for name in answered if name.lower().startswith("access-control-")]


@pytest.mark.parametrize(
    "target", ["http://evil.example/emulator/status", "http://127.0.0.1:PORT/emulator/status", "*"]
)
def test_a_target_that_is_no_path_is_refused(emulator: Emulator, target: str) -> None:
    for port in (emulator.port, emulator.storage_port, emulator.registry_port, emulator.registry_guest_port):
        status, content, _ = ask(port, "GET", target.replace("PORT", str(port)), {"Host": f"127.0.0.1:{port}"})
        assert (status, b"is not a path" in content) == (403, True)


@pytest.mark.parametrize(
    "line", ["Origin : http://evil.example", "Transfer-Encoding : chunked", "no header", " folded"]
)
@pytest.mark.parametrize("service", SERVICES)
def test_a_head_that_is_not_read_to_its_end_is_refused(ports: dict[str, int], service: str, line: str) -> None:
    method, path = SERVICES[service]
    host = "127.0.0.1:" + str(ports[service])
    head = f"{method} {path} HTTP/1.1\r\n{line}\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", ports[service]), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"A line of the request's head is no header" in answer


def test_two_hosts_are_none(emulator: Emulator) -> None:
    with socket.create_connection(("127.0.0.1", emulator.port), timeout=PATIENCE) as client:
        own = f"127.0.0.1:{emulator.port}"
        client.sendall(f"GET /emulator/status HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "TEXT/plain; charset=x"]
)
@pytest.mark.parametrize(
    ("path", "content"),
    [
        (INSTANCES, body()),
        ("/emulator/faults", {"kind": "silent"}),
        ("/v2/entries:write", {"entries": []}),
        ("/storage/v1/b", {"name": "of-a-page"}),
        ("/upload/storage/v1/b/my-project_cloudbuild/o?uploadType=media&name=x", "text"),
    ],
)
def test_what_a_page_may_send_unasked_changes_nothing(
    emulator: Emulator, content_type: str, path: str, content: object
) -> None:
    port = emulator.storage_port if "storage" in path else emulator.port
    headers = {"Host": f"localhost:{port}"} | ({"Content-Type": content_type} if content_type else {})
    status, answer, _ = ask(port, "POST", path, headers, json.dumps(content).encode())
    assert (status, b"Content-Type of a body cannot be" in answer) == (403, True)
    assert emulator.list("projects/my-project/zones/-/instances") == emulator.faults.list() == []
    client = Client.create_anonymous_client()
    assert not client.bucket("of-a-page").exists()
    assert list(client.list_blobs("my-project_cloudbuild")) == []


def test_a_program_says_by_its_token_that_it_is_no_page(emulator: Emulator) -> None:
    headers = {"Host": f"localhost:{emulator.storage_port}", "Content-Type": "text/plain", "Authorization": "Bearer x"}
    path = "/upload/storage/v1/b/my-project_cloudbuild/o?uploadType=media&name=x"
    assert ask(emulator.storage_port, "POST", path, headers, b"text")[0] == 200


def test_a_guest_has_an_address_of_its_own_for_what_is_its(emulator: Emulator, metadata_port: int) -> None:
    storage = urlsplit(f"http://169.254.169.1:{emulator.storage_port}").netloc
    assert ask(emulator.storage_port, "GET", f"{BUCKET}/o", {"Host": storage})[0] == 200
    own_api = {"Host": f"169.254.169.1:{emulator.port}"}
    assert ask(emulator.port, "GET", "/emulator/status", own_api)[0] == 403
    for name in ("169.254.169.254", "metadata.google.internal", "metadata.google.internal:80"):
        assert ask(metadata_port, "GET", METADATA, {"Host": name, "Metadata-Flavor": "Google"})[1] == b"vm"


def test_a_refusal_is_in_the_log_of_requests(emulator: Emulator) -> None:
    ask(emulator.port, "GET", INSTANCES, {"Host": "evil.example"})
    ask(emulator.storage_port, "GET", "/storage/v1/b", {"Host": "evil.example"})
    assert [(each.service, each.status) for each in emulator.calls.list()] == [("compute", 403), ("storage", 403)]
    assert call(emulator, "GET", INSTANCES)[0] == 200
