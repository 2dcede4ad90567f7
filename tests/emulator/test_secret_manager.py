"""The emulator's Secret Manager: what it answers to programs and to guests, and that a value is in no file of its."""

import base64
import http.client
import json
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from google.cloud import compute_v1
from support.compute_clients import PROJECT, Compute, call
from support.waiting import PATIENCE

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.projects import project_number
from cos_customizer.emulator.secret_manager.store import Secrets
from cos_customizer.emulator.server import Emulator

SECRETS = f"/v1/projects/{PROJECT}/secrets"
TOKEN = f"{SECRETS}/token"
NAME = f"projects/{project_number(PROJECT)}/secrets/token"
VALUE = b"hunter2-\xff-and-some-more"
AUTOMATIC: dict[str, Any] = {"replication": {"automatic": {}}}


def in_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def create(emulator: Emulator, *values: bytes, secret: str = "token") -> None:
    status, answer = call(emulator, "POST", f"{SECRETS}?secretId={secret}", AUTOMATIC)
    assert status == 200, answer
    for value in values:
        add(emulator, value, secret=secret)


def add(emulator: Emulator, value: bytes, secret: str = "token", **payload: Any) -> tuple[int, Any]:
    body = {"payload": {"data": in_base64(value), **payload}}
    return call(emulator, "POST", f"{SECRETS}/{secret}:addVersion", body)


def test_a_secret_from_its_creation_to_its_deletion(emulator: Emulator) -> None:
    body = {**AUTOMATIC, "labels": {"team": "images"}}
    status, secret = call(emulator, "POST", f"{SECRETS}?secretId=token", body)
    assert (status, secret["name"], secret["labels"]) == (200, NAME, {"team": "images"})
    status, version = add(emulator, VALUE, dataCrc32c=str(google_crc32c.value(VALUE)))
    assert (version["name"], version["state"]) == (f"{NAME}/versions/1", "ENABLED")
    assert version["clientSpecifiedPayloadChecksum"] is True
    add(emulator, b"second")
    payload = {"data": in_base64(VALUE), "dataCrc32c": str(google_crc32c.value(VALUE))}
    assert call(emulator, "GET", f"{TOKEN}/versions/1:access") == (
        200,
        {"name": f"{NAME}/versions/1", "payload": payload},
    )
    status, latest = call(emulator, "GET", f"{TOKEN}/versions/latest:access")
    assert (latest["name"], latest["payload"]["data"]) == (f"{NAME}/versions/2", in_base64(b"second"))
    by_number = TOKEN.replace(PROJECT, str(project_number(PROJECT)))
    assert call(emulator, "GET", f"{by_number}/versions/latest:access") == (200, latest)
    status, listed = call(emulator, "GET", f"{TOKEN}/versions")
    assert [each["name"].rpartition("/")[2] for each in listed["versions"]] == ["2", "1"]
    assert call(emulator, "DELETE", TOKEN) == (200, {})
    assert call(emulator, "GET", f"{TOKEN}/versions/1:access")[0] == 404
    assert call(emulator, "GET", SECRETS)[1]["secrets"] == []


def test_aliases_and_labels_are_changed_by_a_patch(emulator: Emulator) -> None:
    create(emulator, b"one", b"two")
    body = {"versionAliases": {"stable": "1"}, "labels": {"a": "b"}}
    status, secret = call(emulator, "PATCH", f"{TOKEN}?updateMask=version_aliases", body)
    assert (status, secret["versionAliases"], "labels" in secret) == (200, {"stable": "1"}, False)
    assert call(emulator, "GET", f"{TOKEN}/versions/stable:access")[1]["payload"]["data"] == in_base64(b"one")
    call(emulator, "PATCH", f"{TOKEN}?updateMask=versionAliases", {})
    assert call(emulator, "GET", f"{TOKEN}/versions/stable:access")[0] == 404


STATES = [
    # What is done, in order; what an access comes to.
    ((), None),
    (("disable",), "is in DISABLED state"),
    (("disable", "enable"), None),
    (("destroy",), "is in DESTROYED state"),
]


@pytest.mark.parametrize(("changes", "refusal"), STATES, ids=lambda each: "-".join(each or ["none"]))
def test_only_an_enabled_version_has_a_value(emulator: Emulator, changes: tuple[str, ...], refusal: str | None) -> None:
    create(emulator, VALUE)
    for change in changes:
        assert call(emulator, "POST", f"{TOKEN}/versions/1:{change}", {})[0] == 200
    status, answer = call(emulator, "GET", f"{TOKEN}/versions/latest:access")
    if refusal is None:
        assert status == 200
        return
    assert (status, answer["error"]["status"]) == (400, "FAILED_PRECONDITION")
    assert answer["error"]["message"] == f"Secret Version [{NAME}/versions/1] {refusal}."
    if "DESTROYED" in refusal:
        assert call(emulator, "POST", f"{TOKEN}/versions/1:enable", {})[0] == 400


REFUSED: list[tuple[str, str, Any, int, str, str]] = [
    ("GET", f"{SECRETS}/none", None, 404, "NOT_FOUND", "Secret [{secret}] not found."),
    ("GET", f"{SECRETS}/none/versions/1:access", None, 404, "NOT_FOUND", "not found or has no versions."),
    ("GET", f"{TOKEN}/versions/7:access", None, 404, "NOT_FOUND", "Secret Version [{secret}/versions/7] not found."),
    ("GET", f"{TOKEN}/versions/{'9' * 5000}", None, 404, "NOT_FOUND", "not found."),
    ("POST", f"{TOKEN}:addVersion", [], 400, "INVALID_ARGUMENT", "An object is expected"),
    ("POST", f"{TOKEN}:addVersion", {"payload": {"data": ["x"]}}, 400, "INVALID_ARGUMENT", "must be a text in base64"),
    ("PATCH", f"{TOKEN}?updateMask=labels", {"etag": 1}, 400, "FAILED_PRECONDITION", "etag"),
    ("PATCH", f"{TOKEN}?updateMask=ttl", {}, 501, "UNIMPLEMENTED", "does not support ttl"),
    ("GET", f"{TOKEN}/versions/0", None, 404, "NOT_FOUND", "not found."),
    ("POST", f"{SECRETS}?secretId=token", AUTOMATIC, 409, "ALREADY_EXISTS", "Secret [{secret}] already exists."),
    ("POST", f"{SECRETS}?secretId=a.b", AUTOMATIC, 400, "INVALID_ARGUMENT", "must match the pattern"),
    ("POST", f"{SECRETS}?secretId=b", {}, 400, "INVALID_ARGUMENT", "replication"),
    ("POST", f"{SECRETS}?secretId=b", {**AUTOMATIC, "x": 1}, 400, "INVALID_ARGUMENT", "Unknown name 'x'"),
    ("POST", f"{SECRETS}?secretId=b", {**AUTOMATIC, "ttl": "9s"}, 501, "UNIMPLEMENTED", "does not support ttl"),
    ("POST", f"{SECRETS}?secretId=b", {**AUTOMATIC, "labels": {"A b": ""}}, 400, "INVALID_ARGUMENT", "labels"),
    ("POST", f"{SECRETS}?secretId=b", {**AUTOMATIC, "labels": 1}, 400, "INVALID_ARGUMENT", "must be a mapping"),
    ("POST", f"{TOKEN}:addVersion", {}, 400, "INVALID_ARGUMENT", "payload.data"),
    ("POST", f"{TOKEN}:addVersion", {"payload": {"data": ""}}, 400, "INVALID_ARGUMENT", "cannot be empty"),
    ("POST", f"{TOKEN}:addVersion", {"payload": {"data": "!"}}, 400, "INVALID_ARGUMENT", "Base64 decoding failed"),
    (
        "POST",
        f"{TOKEN}:addVersion",
        {"payload": {"data": in_base64(bytes(65537))}},
        400,
        "INVALID_ARGUMENT",
        "exceeds the limit of 65536 bytes",
    ),
    (
        "POST",
        f"{TOKEN}:addVersion",
        {"payload": {"data": in_base64(b"x"), "dataCrc32c": "1"}},
        400,
        "INVALID_ARGUMENT",
        "checksum",
    ),
    ("POST", f"{TOKEN}/versions/1:disable", {"etag": '"0"'}, 400, "FAILED_PRECONDITION", "etag"),
    ("DELETE", f"{TOKEN}?etag=%220%22", None, 400, "FAILED_PRECONDITION", "etag"),
    ("PATCH", TOKEN, {}, 400, "INVALID_ARGUMENT", "update_mask"),
    ("PATCH", f"{TOKEN}?updateMask=name", {}, 400, "INVALID_ARGUMENT", "cannot be changed"),
    (
        "PATCH",
        f"{TOKEN}?updateMask=versionAliases",
        {"versionAliases": {"a": "9"}},
        400,
        "FAILED_PRECONDITION",
        "versions that exist",
    ),
    ("GET", f"{SECRETS}?pageSize=x", None, 400, "INVALID_ARGUMENT", "page_size"),
    ("GET", f"{SECRETS}?filter=a+OR+b", None, 501, "UNIMPLEMENTED", "cannot read the filter"),
    ("GET", f"/v1/projects/{PROJECT}/locations/europe-west4/secrets", None, 501, "UNIMPLEMENTED", "no regional"),
    ("GET", f"{TOKEN}:getIamPolicy", None, 501, "UNIMPLEMENTED", "no IAM"),
    ("POST", "/v1/projects/cos-cloud/secrets?secretId=a", AUTOMATIC, 403, "PERMISSION_DENIED", "read-only"),
]


@pytest.mark.parametrize(("method", "path", "body", "code", "status", "message"), REFUSED)
def test_what_cannot_be_is_refused_as_google_refuses_it(
    emulator: Emulator, method: str, path: str, body: Any, code: int, status: str, message: str
) -> None:
    create(emulator, VALUE)
    found, answer = call(emulator, method, path, body)
    error = answer["error"]
    assert (found, error["code"], error["status"]) == (code, code, status)
    secret = f"{NAME.rpartition('/')[0]}/{path.removeprefix(SECRETS + '/').partition('/')[0]}"
    assert message.format(secret=NAME if "?secretId" in path else secret) in error["message"]


def test_lists_come_in_pages_and_by_filters(emulator: Emulator) -> None:
    for name in ("a", "b", "c"):
        create(emulator, VALUE, secret=name)
    call(emulator, "PATCH", f"{SECRETS}/b?updateMask=labels", {"labels": {"team": "images"}})

    def names(query: str) -> list[str]:
        return [each["name"][-1] for each in call(emulator, "GET", f"{SECRETS}?{query}")[1]["secrets"]]

    first = call(emulator, "GET", f"{SECRETS}?pageSize=2")[1]
    assert (len(first["secrets"]), first["totalSize"]) == (2, 3)
    assert names(f"pageSize=2&pageToken={first['nextPageToken']}") == ["c"]
    assert names("filter=labels.team%3Dimages") == names("filter=labels:team") == ["b"]
    assert names("filter=labels.team!%3Dimages") == ["a", "c"]
    assert names("filter=name:secrets/c") == ["c"]
    call(emulator, "POST", f"{SECRETS}/c/versions/1:disable", {})
    assert call(emulator, "GET", f"{SECRETS}/c/versions?filter=state:enabled")[1]["versions"] == []


def test_a_fault_reaches_this_service_as_the_others(emulator: Emulator) -> None:
    create(emulator, VALUE)
    emulator.faults.add("http", path=":access", status=403, reason="forbidden", message="Permission denied")
    status, answer = call(emulator, "GET", f"{TOKEN}/versions/1:access")
    assert (status, answer["error"]["message"]) == (403, "Permission denied")
    assert call(emulator, "GET", f"{TOKEN}/versions/1:access")[0] == 200


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def ask_as_guest(emulator: Emulator, path: str, token: str = "", host: str = "169.254.169.1") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", emulator.guest_port, timeout=PATIENCE)
    headers = {"Host": f"{host}:{emulator.guest_port}", **({"Authorization": f"Bearer {token}"} if token else {})}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_guest_needs_the_token_of_a_running_vm_with_the_scope(compute: Compute) -> None:
    emulator, path = compute.emulator, f"{TOKEN}/versions/latest:access"
    create(emulator, VALUE)
    scope = "https://www.googleapis.com/auth/"
    vms = {
        name: compute.create(
            name,
            service_accounts=[compute_v1.ServiceAccount(email="default", scopes=scopes)] if scopes else [],
        )
        for name, scopes in {
            "good": [f"{scope}cloud-platform"],
            "narrow": [f"{scope}devstorage.read_write"],
            "without": [],
        }.items()
    }

    def answer_to(name: str, **more: str) -> tuple[int, str]:
        status, answer = ask_as_guest(emulator, path, f"ya29.local-{vms[name].id}", **more)
        return status, answer["error"]["status"] if "error" in answer else answer["payload"]["data"]

    assert answer_to("good") == (200, in_base64(VALUE))
    assert answer_to("narrow") == (403, "PERMISSION_DENIED")
    assert answer_to("without") == (401, "UNAUTHENTICATED")
    for token in ("", "any", "ya29.local-", "ya29.local-1"):
        assert ask_as_guest(emulator, path, token)[0] == 401
    assert answer_to("good", host="evil.example") == (403, "PERMISSION_DENIED")
    good = f"ya29.local-{vms['good'].id}"
    for other in ("/compute/v1/projects/my-project/zones/us-west1-b/instances", "/emulator/status", "/v2/entries:list"):
        assert ask_as_guest(emulator, other, good)[0] == 404, "nothing else is there"
    compute.ok(compute.instances.delete_unary(project=PROJECT, zone="us-west1-b", instance="good"))
    assert answer_to("good") == (401, "UNAUTHENTICATED")


def test_guests_may_reach_that_port_and_not_the_one_of_compute_engine(compute: Compute) -> None:
    seen: list[Any] = []
    compute.emulator.scripts.add(lambda spec: seen.append(spec) or [])  # type: ignore[func-returns-value]
    compute.create()
    assert set(seen[0].host_ports) > {compute.emulator.storage_port, compute.emulator.guest_port}


def test_a_value_is_in_no_file_and_in_no_log_and_is_gone_after_a_restart(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        create(emulator, VALUE)
        assert call(emulator, "GET", f"{TOKEN}/versions/1:access")[0] == 200
        (logged,) = emulator.calls.list("secretmanager", path=":addVersion")
        assert logged.path == f"{TOKEN}:addVersion"
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert not [form for form in (VALUE, VALUE.hex().encode(), in_base64(VALUE).encode()) if form in kept]
        assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    with Emulator(tmp_path) as emulator:
        status, answer = call(emulator, "GET", f"{TOKEN}/versions/1:access")
        assert (status, answer["error"]["status"]) == (400, "FAILED_PRECONDITION")
        assert "this one ended with the emulator that had it. Add it again." in answer["error"]["message"]
        assert add(emulator, b"again")[1]["name"] == f"{NAME}/versions/2"
        assert call(emulator, "GET", f"{TOKEN}/versions/latest:access")[0] == 200


@pytest.mark.parametrize("content", ["", '{"a": 1}', "[1]", '[{"secret": {}}]', "[" * 100_000])
def test_a_file_of_another_kind_is_told_of(tmp_path: Path, content: str) -> None:
    (tmp_path / "secrets.json").write_text(content)
    with pytest.raises(EmulatorError, match="is not the emulator's"):
        Secrets(tmp_path, Clock())
