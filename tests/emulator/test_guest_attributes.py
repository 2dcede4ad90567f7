"""Guest attributes: written by a guest at its metadata server, read by Google's client."""

from dataclasses import replace
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import compute_v1
from support.compute_clients import INSTANCES, PROJECT, ZONE, Compute, call
from werkzeug.test import Client, TestResponse

from cos_customizer.emulator.machines.backend import MachineSpec
from cos_customizer.emulator.machines.guest_attributes import LONGEST_VALUE
from cos_customizer.emulator.machines.metadata_server import MetadataServer
from cos_customizer.emulator.machines.scripted import Transcript
from cos_customizer.emulator.server import Emulator

ENABLED = {"enable-guest-attributes": "TRUE"}
SPEC = MachineSpec("my-project", "us-west1-b", "vm", "1234", boot_disk="disk", attributes=ENABLED)
SAID = {"hostkeys/ssh-rsa": "AAA", "hostkeys/ed": "BBB", "my_app/ready": "1"}


def ask(server: MetadataServer, method: str, path: str, data: bytes | str = "") -> TestResponse:
    url = f"/computeMetadata/v1/instance/guest-attributes/{path}"
    return Client(server.app).open(url, method=method, data=data, headers={"Metadata-Flavor": "Google"})


def test_a_guest_writes_reads_and_deletes() -> None:
    server = MetadataServer(SPEC)
    for path, value in SAID.items():
        assert ask(server, "PUT", path, value).status_code == 200
    assert ask(server, "GET", "hostkeys/ssh-rsa").text == "AAA"
    assert ask(server, "GET", "").text == "hostkeys/\nmy_app/\n"
    everything = {"hostkeys": {"ed": "BBB", "ssh-rsa": "AAA"}, "my_app": {"ready": "1"}}
    assert ask(server, "GET", "?recursive=true").json == everything
    assert ask(server, "GET", "hostkeys/?recursive=true").json == everything["hostkeys"]
    assert ask(server, "PUT", "my_app/ready", "2").status_code == 200
    assert ask(server, "GET", "my_app/ready").text == "2"
    assert ask(server, "DELETE", "my_app/ready").status_code == 200
    assert ask(server, "DELETE", "my_app/ready").status_code == ask(server, "GET", "my_app/").status_code == 404


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("key", b"", "NAMESPACE/KEY"),
        ("a/b/c", b"", "NAMESPACE/KEY"),
        ("a/b%20c", b"", "NAMESPACE/KEY"),
        (f"a/{'b' * 129}", b"", "NAMESPACE/KEY"),
        ("a/b", b"x" * (LONGEST_VALUE + 1), "longer than 262144 bytes"),
        ("a/b", b"\xff", "UTF-8"),
    ],
)
def test_what_is_no_guest_attribute_is_refused(path: str, value: bytes, words: str) -> None:
    server = MetadataServer(SPEC)
    refused = ask(server, "PUT", path, value)
    assert (refused.status_code, words in refused.text) == (400, True)
    assert ask(server, "GET", "").status_code == 404


def test_a_directory_of_a_like_name_has_no_guest_attributes() -> None:
    server, headers = MetadataServer(SPEC), {"Metadata-Flavor": "Google"}
    beside = "/computeMetadata/v1/instance/guest-attributes-a/b"
    for method, status in (("PUT", 405), ("DELETE", 405), ("GET", 404)):
        assert Client(server.app).open(beside, method=method, data="c", headers=headers).status_code == status
    assert ask(server, "GET", "").status_code == 404


def test_only_metadata_opens_them_that_of_the_instance_first() -> None:
    server = MetadataServer(replace(SPEC, attributes={}))
    for method in ("GET", "PUT", "DELETE"):
        refused = ask(server, method, "a/b", "c")
        assert (refused.status_code, "access is disabled" in refused.text) == (403, True)
    server.update(replace(SPEC, attributes={}, project_attributes=ENABLED))
    assert ask(server, "PUT", "a/b", "c").status_code == 200
    server.update(replace(SPEC, attributes={"enable-guest-attributes": "FALSE"}, project_attributes=ENABLED))
    assert ask(server, "GET", "a/b").status_code == 403
    recursive = Client(server.app).get(
        "/computeMetadata/v1/instance/?recursive=true", headers={"Metadata-Flavor": "Google"}
    )
    assert "guestAttributes" not in (recursive.json or {})


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    emulator.scripts.add({"events": [{"guest_attributes": SAID}]})
    return Compute(emulator)


def create(compute: Compute, **attributes: str) -> None:
    items = [compute_v1.Items(key=key.replace("_", "-"), value=value) for key, value in attributes.items()]
    compute.create(metadata=compute_v1.Metadata(items=items))


def read(compute: Compute, **query: str) -> compute_v1.GuestAttributes:
    request = compute_v1.GetGuestAttributesInstanceRequest(project=PROJECT, zone=ZONE, instance="vm", **query)
    return compute.instances.get_guest_attributes(request)


@pytest.mark.parametrize(
    ("query_path", "found"), [("", 3), ("hostkeys/", 2), ("hostkeys", 2), ("hostkeys/ed", 1), ("my_app/ready", 1)]
)
def test_who_asks_reads_all_a_namespace_or_a_key(compute: Compute, query_path: str, found: int) -> None:
    create(compute, enable_guest_attributes="TRUE")
    items = read(compute, query_path=query_path).query_value.items
    assert {f"{item.namespace}/{item.key}": item.value for item in items}.items() <= SAID.items()
    assert len(items) == found


def test_a_value_is_read_alone_and_stays_when_the_machine_stops(compute: Compute) -> None:
    create(compute, enable_guest_attributes="TRUE")
    compute.stop()
    one = read(compute, variable_key="hostkeys/ed")
    assert (one.variable_key, one.variable_value) == ("hostkeys/ed", "BBB")


REFUSED: list[tuple[dict[str, str], dict[str, str], int, str]] = [
    ({}, {}, 412, "access is disabled"),
    ({"enable_guest_attributes": "TRUE"}, {"query_path": "none/"}, 404, "'none/' of type 'Guest Attribute'"),
    ({"enable_guest_attributes": "TRUE"}, {"variable_key": "a/b"}, 404, "'a/b' of type 'Guest Attribute'"),
    ({"enable_guest_attributes": "TRUE"}, {"variable_key": "a/b", "query_path": "a/"}, 400, "At most one of"),
]


@pytest.mark.parametrize(("attributes", "query", "status", "words"), REFUSED)
def test_what_cannot_be_read_says_why(
    compute: Compute, attributes: dict[str, str], query: dict[str, str], status: int, words: str
) -> None:
    create(compute, **attributes)
    with pytest.raises(GoogleAPICallError, match=words) as refused:
        read(compute, **query)
    assert refused.value.code == status


def test_a_vm_that_is_not_there_has_none(compute: Compute) -> None:
    assert call(compute.emulator, "GET", f"{INSTANCES}/vm/getGuestAttributes")[0] == 404


@pytest.mark.parametrize("said", ["text", {"a/b": 1}, {"a": "b"}])
def test_a_transcript_with_other_attributes_is_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="NAMESPACE/KEY"):
        Transcript([{"guest_attributes": said}])
