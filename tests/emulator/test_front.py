"""One port for all services: each request finds its own, and the door of the port holds for all of them."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.logging_v2 import Client as LoggingClient
from google.cloud.storage import Client
from support.compute_clients import INSTANCES, PROJECT, Compute
from support.waiting import PATIENCE

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.seed.model import Seed
from cos_customizer.emulator.server import Emulator

BUCKET = f"{PROJECT}_cloudbuild"


@pytest.fixture
def open_emulator(tmp_path: Path) -> Iterator[Emulator]:
    """One that listens beyond loopback."""
    with Emulator(tmp_path / "state", host="0.0.0.0", host_names=("compute-engine",)) as emulator:
        yield emulator


def test_another_address_is_listened_on_beside_loopback(tmp_path: Path) -> None:
    seed = Seed.model_validate({"images": [{"name": "app"}], "secrets": [{"name": "s", "text": "x"}]})
    with Emulator(tmp_path / "state", host="127.0.0.2", seed=seed) as emulator:
        Compute(emulator).image("another")
        for address in ("127.0.0.1", "127.0.0.2"):
            connection = http.client.HTTPConnection(address, emulator.port, timeout=PATIENCE)
            connection.request("GET", f"/compute/v1/projects/{PROJECT}/global/images/app")
            assert connection.getresponse().status == 200, address
            connection.close()
        emulator.remove_project(PROJECT, PATIENCE)
        port = emulator.port
    for address in ("127.0.0.1", "127.0.0.2"):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, port), timeout=PATIENCE)


def test_an_address_of_another_machine_is_told(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match=r"cannot listen on 192\.0\.2\.99") as refused:
        Emulator(tmp_path / "state", host="192.0.2.99")
    assert refused.value.hint == "choose an address of this machine"


def test_all_variables_lead_to_the_one_port(open_emulator: Emulator) -> None:
    addresses = open_emulator.environment().values()
    assert {address.split("/")[2] for address in addresses} == {f"127.0.0.1:{open_emulator.port}"}


def test_googles_clients_reach_every_service_on_it(open_emulator: Emulator) -> None:
    Compute(open_emulator).image("app")
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    address = {"api_endpoint": f"http://127.0.0.1:{open_emulator.port}"}
    bucket = Client(PROJECT, credentials, client_options=address).bucket(BUCKET)
    content = bytes(range(256)) * 4096
    blob = bucket.blob("deep/object")
    blob.chunk_size = 256 << 10  # several requests, to addresses that the first answer gives
    blob.upload_from_string(content)
    assert bucket.blob("deep/object").download_as_bytes() == content
    logging: Any = cast(Any, LoggingClient)(
        project=PROJECT, credentials=credentials, _use_grpc=False, client_options=address
    )
    logging.logger("log").log_text("entry")
    assert "entry" in [entry.payload for entry in logging.list_entries()]


@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("GET", INSTANCES, "compute"),
        ("GET", f"/v2/projects/{PROJECT}/logs", "logging"),
        ("GET", f"/v1/projects/{PROJECT}/secrets", "secretmanager"),
        ("GET", f"/storage/v1/b/{BUCKET}/o", "storage"),
        ("GET", f"/b/{BUCKET}/o", "storage"),
        ("GET", f"/download/storage/v1/b/{BUCKET}/o/x", "storage"),
        ("GET", f"/{BUCKET}/x", "storage"),
        ("GET", "/v2/", "registry"),
        ("GET", "/v2/gcr.io/my-project/app/manifests/1", "registry"),
        ("HEAD", "/v2/gcr.io/my-project/app/blobs/sha256:" + "0" * 64, "registry"),
        ("GET", "/v2/gcr.io/my-project/app/tags/list", "registry"),
        ("GET", "/v2/_catalog", "registry"),
    ],
)
def test_the_path_tells_the_service(emulator: Emulator, method: str, path: str, service: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=PATIENCE)
    for _ in range(2):  # of one connection, after another service's
        connection.request(method, path)
        connection.getresponse().read()
        connection.request("GET", "/healthz")
        assert json.load(connection.getresponse()) == {"status": "ok"}
    connection.close()
    assert [(each.service, each.path) for each in emulator.calls.list()] == [(service, path)] * 2


HOSTS = [
    ("localhost:PORT", 200),
    ("localhost:49153", 200),  # as published by a container's engine
    ("localhost", 200),
    ("compute-engine:4588", 200),
    ("Compute-Engine", 200),
    ("evil.example", 403),
    ("compute-engine.evil.example:PORT", 403),
    ("compute-engine:x", 403),
    ("", 403),
]


@pytest.mark.parametrize(("host", "status"), HOSTS)
def test_only_known_names_of_the_host_are_answered(open_emulator: Emulator, host: str, status: int) -> None:
    host = host.replace("PORT", str(open_emulator.port))
    for path in (INSTANCES, f"/storage/v1/b/{BUCKET}/o", "/v2/", "/emulator/status", "/ui/", "/healthz"):
        assert asked(open_emulator, path, Host=host) == status, path


def test_a_page_of_another_port_of_the_host_is_still_another_page(open_emulator: Emulator) -> None:
    own = "compute-engine:4588"
    for origin, status in ((f"http://{own}", 200), ("http://compute-engine:3000", 403), (f"https://{own}", 403)):
        assert asked(open_emulator, "/emulator/status", Host=own, Origin=origin) == status, origin
    assert asked(open_emulator, "/v2/", Host=own, Sec_Fetch_Site="same-site") == 403


def asked(emulator: Emulator, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=PATIENCE)
    try:
        connection.putrequest("GET", path, skip_host=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()
