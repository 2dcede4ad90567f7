"""The metadata server answers as Compute Engine's does: paths, forms, refusals, waiting for a change, tokens."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.waiting import PATIENCE, wait_for
from werkzeug.test import Client, TestResponse

from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines.backend import MachineSpec
from cos_customizer.emulator.machines.metadata_server import MetadataServer
from cos_customizer.emulator.projects import project_number

ACCOUNT = "builder@my-project.iam.gserviceaccount.com"
SPEC = MachineSpec(
    project="my-project",
    zone="us-west1-b",
    name="builder",
    instance_id="4711471147114711",
    boot_disk="disk",
    attributes={"user-data": "#cloud-config\n", "block-project-ssh-keys": "TRUE", "odd key/ünïcode": "ä\nb"},
    tags=["http", "ssh"],
    service_account=ACCOUNT,
    scopes=["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/devstorage.read_write"],
)
NUMBER = project_number("my-project")
DISK_TEXT = "0/device-name boot\n0/index 0\n0/interface SCSI\n0/mode READ_WRITE\n0/type PERSISTENT\n"
FLAVOR = {"Metadata-Flavor": "Google"}


@pytest.fixture
def server() -> MetadataServer:
    return MetadataServer(SPEC)


def get(server: MetadataServer, path: str, **headers: str) -> TestResponse:
    return Client(server.app).get(f"/computeMetadata/v1/{path}", headers={**FLAVOR, **headers})


def test_faults_reach_the_metadata_server_too() -> None:
    faults = Faults()
    server = MetadataServer(SPEC, faults)
    faults.add("http", path="/instance/attributes/", name="builder", status=503, message="later")
    faults.add("http", path="/instance/", name="another")
    assert get(server, "instance/id").status_code == 200
    refused = get(server, "instance/attributes/user-data")
    assert (refused.status_code, refused.text) == (503, "later\n")
    assert get(server, "instance/attributes/user-data").text == "#cloud-config\n"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "instance/\nproject/\n"),
        ("project/project-id", "my-project"),
        ("project/numeric-project-id", str(NUMBER)),
        ("project/attributes/", ""),
        ("instance/id", "4711471147114711"),
        ("instance/name", "builder"),
        ("instance/hostname", "builder.us-west1-b.c.my-project.internal"),
        ("instance/zone", f"projects/{NUMBER}/zones/us-west1-b"),
        ("instance/machine-type", f"projects/{NUMBER}/machineTypes/n1-standard-1"),
        ("instance/tags", '["http", "ssh"]'),
        ("instance/attributes/user-data", "#cloud-config\n"),
        ("instance/attributes/", "user-data\nblock-project-ssh-keys\nodd key/ünïcode\n"),
        ("instance/disks/", "0/\n"),
        ("instance/disks/0/device-name", "boot"),
        ("instance/network-interfaces/0/ip", "169.254.169.15"),
        ("instance/service-accounts/", f"default/\n{ACCOUNT}/\n"),
        ("instance/service-accounts/default/", "aliases\nemail\nscopes\ntoken\n"),
        ("instance/service-accounts/default/email", ACCOUNT),
        ("instance/service-accounts/default/aliases", "default\n"),
        ("instance/service-accounts/default/scopes", "".join(f"{scope}\n" for scope in SPEC.scopes)),
        ("instance/attributes/user-data?alt=json", '"#cloud-config\\n"'),
        ("instance/id?alt=json", "4711471147114711"),
        ("instance/network-interfaces/0/access-configs/?recursive=true", "[]"),
        ("instance/network-interfaces/0/forwarded-ips/?recursive=true&alt=text", ""),
        ("instance/disks/?recursive=true&alt=text", DISK_TEXT),
    ],
)
def test_values(server: MetadataServer, path: str, text: str) -> None:
    response = get(server, path)
    assert (response.status_code, response.text) == (200, text)
    assert response.headers["Metadata-Flavor"] == "Google"
    assert response.headers["ETag"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/computeMetadata/v1/instance/id", {}, 403),
        ("/computeMetadata/v1/instance/id", {"Metadata-Flavor": "google"}, 403),
        ("/computeMetadata/v1/instance/id", {**FLAVOR, "X-Forwarded-For": "10.0.0.1"}, 403),
        ("/computeMetadata/v1/instance/nothing", FLAVOR, 404),
        ("/computeMetadata/v1/instance/attributes/nothing", FLAVOR, 404),
        ("/computeMetadata/v1/instance/id/", FLAVOR, 404),
        ("/computeMetadata/v1/instance/id/more", FLAVOR, 404),
        ("/computeMetadata/v2/instance/id", FLAVOR, 404),
        ("/latest/meta-data/", FLAVOR, 404),
        ("/", {}, 200),
    ],
)
def test_who_may_ask_what(server: MetadataServer, path: str, headers: dict[str, str], status: int) -> None:
    assert Client(server.app).get(path, headers=headers).status_code == status


def test_a_directory_without_its_slash_redirects_with_the_query(server: MetadataServer) -> None:
    response = get(server, "instance/attributes?recursive=true")
    assert response.status_code == 301
    assert response.headers["Location"].endswith("/computeMetadata/v1/instance/attributes/?recursive=true")


def test_recursive_json_is_camel_case_but_for_users_names_and_shows_no_token(server: MetadataServer) -> None:
    everything = json.loads(get(server, "?recursive=True").text)
    instance = everything["instance"]
    assert instance["attributes"] == SPEC.attributes
    assert instance["id"] == 4711471147114711
    assert instance["machineType"].endswith("/n1-standard-1")
    assert instance["networkInterfaces"][0]["ip"] == "169.254.169.15"
    assert instance["disks"] == [
        {"deviceName": "boot", "index": 0, "interface": "SCSI", "mode": "READ_WRITE", "type": "PERSISTENT"}
    ]
    account = {"aliases": ["default"], "email": ACCOUNT, "scopes": list(SPEC.scopes)}
    assert instance["serviceAccounts"] == {"default": account, ACCOUNT: account}
    assert everything["project"] == {"attributes": {}, "numericProjectId": NUMBER, "projectId": "my-project"}
    assert json.loads(get(server, "instance/attributes/?recursive=true").text) == SPEC.attributes


def test_a_token_can_be_had_and_says_how_long(server: MetadataServer) -> None:
    for name in ("default", ACCOUNT):
        response = get(server, f"instance/service-accounts/{name}/token")
        token = json.loads(response.text)
        assert response.headers["Content-Type"].startswith("application/json")
        assert token["token_type"] == "Bearer"
        assert token["access_token"]
        assert 0 < token["expires_in"] <= 3600


def test_without_a_service_account_there_is_no_token() -> None:
    server = MetadataServer(MachineSpec("p", "z", "n", "1", "disk"))
    assert get(server, "instance/service-accounts/").text == ""
    assert get(server, "instance/service-accounts/default/token").status_code == 404


def test_a_change_of_attributes_shows_and_wakes_those_who_wait(server: MetadataServer) -> None:
    before = get(server, "instance/attributes/?recursive=true")
    known = before.headers["ETag"]
    assert get(server, f"instance/attributes/?recursive=true&wait_for_change=true&last_etag={known}&timeout_sec=0").text
    changer = threading.Timer(0.2, server.update, [replace(SPEC, attributes={"user-data": "new"})])
    changer.start()
    wait = f"wait_for_change=true&last_etag={known}&timeout_sec=1e300"
    after = get(server, f"instance/attributes/?recursive=true&{wait}")
    assert json.loads(after.text) == {"user-data": "new"}, "it was waited for"
    assert after.headers["ETag"] != known
    at_once = get(server, f"instance/attributes/?recursive=true&wait_for_change=true&last_etag={known}")
    assert at_once.headers["ETag"] == after.headers["ETag"]


@pytest.fixture
def port(server: MetadataServer) -> Iterator[int]:
    yield server.start()
    server.stop()


def test_metadata_of_the_project_shows_and_is_replaced_with_the_instance_s() -> None:
    server = MetadataServer(replace(SPEC, project_attributes={"site": "first"}))
    assert get(server, "project/attributes/").text == "site\n"
    assert get(server, "project/attributes/site").text == "first"
    server.update(replace(SPEC, project_attributes={"site": "second"}))
    assert get(server, "project/attributes/?recursive=true").json == {"site": "second"}


def test_it_listens_on_loopback_keeps_connections_and_frees_its_port(server: MetadataServer, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for _ in range(2):
        connection.request("GET", "/computeMetadata/v1/instance/name", headers=FLAVOR)
        assert connection.getresponse().read() == b"builder"
    connection.close()
    waiter = threading.Thread(target=get, args=(server, "instance/name?wait_for_change=true"))
    waiter.start()
    server.stop()
    waiter.join(PATIENCE)
    assert not waiter.is_alive()

    def refused() -> bool:  # on a busy machine the kernel lets go of a closed port a moment later
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_for(refused)
