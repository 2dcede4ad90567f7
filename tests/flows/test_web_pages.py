"""What a web page can do to the emulator and to a build's own Prefect server, in a real browser: nothing."""

import base64
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.storage import Client
from support.browser_page import CHROMIUM, Page, attempts, show
from support.compute_clients import INSTANCES, body, call
from support.waiting import PATIENCE

from cos_customizer.emulator.machines.backend import MachineSpec
from cos_customizer.emulator.machines.metadata_server import MetadataServer
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import database_template
from cos_customizer.flows.local_server import LocalServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed: apt-get install chromium"),
]

SECRET = "s3cr3t-value"
BUCKET = "my-project_cloudbuild"


@pytest.fixture
def metadata_port() -> Iterator[int]:
    server = MetadataServer(MachineSpec("p", "z", "vm", "1", "disk", attributes={"user-data": SECRET}))
    yield server.start()
    server.stop()


@pytest.fixture
def prefect(prefect_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """A build's own server, with a flow run that has a secret among its parameters."""
    monkeypatch.setenv(database_template.VARIABLE, str(prefect_template))
    with LocalServer() as server:
        flow = ask(server, "/flows/", {"name": "f"})["id"]
        ask(server, "/flow_runs/", {"flow_id": flow, "parameters": {"env": {"TOKEN": SECRET}}})
        yield server


def ask(server: LocalServer, path: str, content: object) -> Any:
    """The answer of a server to its own build."""
    credential = base64.b64encode(os.environ["PREFECT_API_AUTH_STRING"].encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {credential}"}
    request = urllib.request.Request(server.url + path, json.dumps(content).encode(), headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def emulator_attempts(origin: str) -> list[dict[str, Any]]:
    return [
        *attempts(f"{origin}{INSTANCES}"),
        *attempts(f"{origin}{INSTANCES}", "POST", body(name="of-a-page")),
        *attempts(f"{origin}/emulator/status"),
        *attempts(f"{origin}/emulator/shutdown", "POST"),
        *attempts(f"{origin}/emulator/faults", "POST", {"kind": "silent"}),
        *attempts(f"{origin}/v2/entries:list", "POST", {"resourceNames": ["projects/my-project"]}),
        *attempts(f"{origin}/v2/entries:write", "POST", {"entries": []}),
        *attempts(f"{origin}/v1/projects/my-project/secrets/theirs/versions/latest:access"),
        *attempts(f"{origin}/v1/projects/my-project/secrets?secretId=of-a-page", "POST", {"replication": {}}),
    ]


def storage_attempts(origin: str) -> list[dict[str, Any]]:
    return [
        *attempts(f"{origin}/storage/v1/b/{BUCKET}/o"),
        *attempts(f"{origin}/download/storage/v1/b/{BUCKET}/o/theirs?alt=media"),
        *attempts(f"{origin}/wipe"),
        *attempts(f"{origin}/storage/v1/b", "POST", {"name": "of-a-page"}),
        *attempts(f"{origin}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=of-a-page", "POST"),
    ]


def prefect_attempts(origin: str) -> list[dict[str, Any]]:
    return [
        *attempts(f"{origin}/api/flow_runs/filter", "POST"),
        *attempts(f"{origin}/api/flows/", "POST", {"name": "of-a-page"}),
        *attempts(f"{origin}/api/admin/version"),
        *attempts(f"{origin}/api/events/in"),
    ]


def test_a_page_of_another_site_reads_and_changes_nothing(
    emulator: Emulator, prefect: LocalServer, metadata_port: int, tmp_path: Path
) -> None:
    Client.create_anonymous_client().bucket(BUCKET).blob("theirs").upload_from_string(SECRET)
    secrets = "/v1/projects/my-project/secrets"
    hidden = base64.b64encode(SECRET.encode()).decode()
    assert call(emulator, "POST", f"{secrets}?secretId=theirs", {"replication": {"automatic": {}}})[0] == 200
    assert call(emulator, "POST", f"{secrets}/theirs:addVersion", {"payload": {"data": hidden}})[0] == 200
    emulator.calls.clear()
    own, storage = f"http://127.0.0.1:{emulator.port}", f"http://127.0.0.1:{emulator.storage_port}"
    server = prefect.url.removesuffix("/api")
    metadata = attempts(f"http://127.0.0.1:{metadata_port}/computeMetadata/v1/instance/attributes/user-data")
    port_of_prefect = int(server.rpartition(":")[2])
    elsewhere = Page([*emulator_attempts(own), *storage_attempts(storage), *prefect_attempts(server), *metadata])
    # A page that has let its own name point here afterwards is of the same site as the service, to the browser.
    rebound = [
        Page(emulator_attempts(""), emulator.port),
        Page(storage_attempts(""), emulator.storage_port),
        Page(prefect_attempts(""), port_of_prefect),
        Page(metadata[:1], metadata_port),
    ]
    show([elsewhere, *rebound], tmp_path / "browser")

    assert len(elsewhere.results) > 100
    assert {each["result"] for each in elsewhere.results} <= {"refused", "opaque"}
    read = [each for page in rebound for each in page.results if each["result"] not in ("refused", "opaque")]
    assert {each["result"][:8] for each in read if each["way"] != "form"} == {"read 401", "read 403"}, read
    told = json.dumps([page.results for page in (elsewhere, *rebound)])
    assert SECRET not in told
    assert hidden not in told

    seen = emulator.calls.list()
    assert len(seen) > 50
    assert {call.status for call in seen} <= {403, 404, 405}, seen
    assert emulator.list("projects/my-project/zones/-/instances") == emulator.faults.list() == []
    assert len(call(emulator, "GET", secrets)[1]["secrets"]) == 1
    client = Client.create_anonymous_client()
    assert [blob.name for blob in client.list_blobs(BUCKET)] == ["theirs"]
    assert not client.bucket("of-a-page").exists()
    assert [flow["name"] for flow in ask(prefect, "/flows/filter", {})] == ["f"]
    assert [run["parameters"] for run in ask(prefect, "/flow_runs/filter", {})] == [{"env": {"TOKEN": SECRET}}]


def test_the_same_page_is_answered_where_a_service_lets_it(tmp_path: Path) -> None:
    """What the attempts above are worth: a service without a door."""
    open_one = Page([], 0)
    tries = [
        {"way": way, "url": "/", "text": "{}", "request": {"method": "POST" if way == "cors" else "GET"}}
        for way in ("cors", "no-cors", "socket")
    ]
    page = Page(tries, open_one.port)
    try:
        show([page], tmp_path / "browser")
    finally:
        open_one.close()
    assert [each["result"].strip() for each in page.results] == ["read 404", "read 404", "refused"]
