"""What goes wrong on demand, and the emulator's own API."""

import http.client
import threading
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, ServiceUnavailable
from google.cloud import compute_v1
from google.cloud.storage import Client
from requests import RequestException
from support.compute_clients import (
    DISKS,
    IMAGES,
    INSTANCES,
    PROJECT,
    SNAPSHOTS,
    ZONE,
    Compute,
    body,
    call,
    disk_path,
)
from support.waiting import wait_for

from cos_customizer.emulator.server import Emulator

Order = Callable[..., Any]
OURS = f"/compute/v1/projects/{PROJECT}"
TEMPLATES = f"{OURS}/global/instanceTemplates"


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


@pytest.fixture(params=["python", "http"])
def order(request: pytest.FixtureRequest, emulator: Emulator) -> Order:
    """Order a fault, by the method and by the emulator's own API."""

    def by_http(kind: str, **fields: Any) -> Any:
        status, answer = call(emulator, "POST", "/emulator/faults", {"kind": kind, **fields})
        assert status == 200, answer
        return answer["id"]

    return by_http if request.param == "http" else emulator.faults.add


def test_a_status_for_the_next_calls_that_match(compute: Compute, order: Order) -> None:
    compute.image("i")
    order("http", method="GET", path=r"/images/\w+", status=403, reason="rateLimitExceeded", message="slow", count=2)
    for _ in range(2):
        with pytest.raises(Forbidden, match="slow") as caught:
            compute.images.get(project=PROJECT, image="i", retry=None)
        assert caught.value.errors[0]["reason"] == "rateLimitExceeded"
    assert compute.images.get(project=PROJECT, image="i").name == "i"
    assert compute.emulator.faults.list() == []


@pytest.mark.parametrize(("when", "made"), [("before", []), ("after", ["vm"])])
def test_a_connection_dropped_before_or_after_the_work(emulator: Emulator, when: str, made: list[str]) -> None:
    emulator.faults.add("drop", method="POST", path="/instances", when=when)
    path = f"{INSTANCES}?requestId={uuid.uuid4()}"
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        call(emulator, "POST", path, body())
    assert Compute(emulator).names("instances") == made
    status, operation = call(emulator, "POST", path, body())  # the same request again
    assert (status, operation["operationType"]) == (200, "insert")
    assert Compute(emulator).names("instances") == ["vm"]
    assert [c.status for c in emulator.calls.list(method="POST")] == [0, 200]


def test_a_late_answer(emulator: Emulator, order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[float] = []
    monkeypatch.setattr("cos_customizer.emulator.web.time", SimpleNamespace(sleep=late.append))
    order("delay", path="/images", seconds=20)
    assert call(emulator, "GET", IMAGES)[0] == call(emulator, "GET", IMAGES)[0] == 200
    assert late == [20]


@pytest.mark.parametrize("leave", [False, True])
def test_an_operation_that_ends_in_an_error(compute: Compute, leave: bool) -> None:
    compute.emulator.faults.add(
        "operation", method="insert", path="/images/", code="QUOTA_EXCEEDED", status=403, seconds=0.1, leave=leave
    )
    done = compute.wait(compute.insert_image("i"))
    assert (done.error.errors[0].code, done.http_error_status_code) == ("QUOTA_EXCEEDED", 403)
    left = {i["name"]: i["status"] for i in compute.emulator.list(f"projects/{PROJECT}/global/images")}
    assert left == ({"i": "FAILED"} if leave else {})


@pytest.mark.parametrize(("action", "status"), [("insert", None), ("stop", "RUNNING"), ("start", "TERMINATED")])
def test_a_failed_operation_leaves_things_as_they_were(compute: Compute, action: str, status: str | None) -> None:
    if action != "insert":
        compute.create()
    if action == "start":
        compute.stop()
    compute.emulator.faults.add("operation", method=action, code="INTERNAL_ERROR", status=500)
    if action == "insert":
        operation = compute.insert()
    else:
        change = compute.instances.stop_unary if action == "stop" else compute.instances.start_unary
        operation = change(project=PROJECT, zone=ZONE, instance="vm")
    assert compute.wait(operation).error.errors[0].code == "INTERNAL_ERROR"
    if status is None:
        assert compute.names("instances") == compute.names("disks") == []
    else:
        assert compute.instances.get(project=PROJECT, zone=ZONE, instance="vm").status == status


def test_a_machine_that_prints_nothing(compute: Compute, order: Order) -> None:
    compute.emulator.scripts.add({"events": [{"text": "hello"}]})
    order("silent", name="vm")
    compute.create("vm")
    compute.create("other")
    assert compute.serial("vm").contents == ""
    assert compute.serial("other").contents == "hello"


def test_output_that_is_lost(compute: Compute, order: Order) -> None:
    compute.emulator.scripts.add({"events": [{"text": "0123456789"}]})
    compute.create()
    order("serial-loss", name="vm", bytes=4)
    output = compute.serial(start=2)
    assert (output.contents, output.start, output.next_) == ("6789", 6, 10)
    assert compute.serial(start=0).start == 6


def test_a_machine_that_crashes(compute: Compute, order: Order) -> None:
    order("crash", seconds=60)
    compute.create()
    compute.emulator.clock.advance(59)
    assert compute.instances.get(project=PROJECT, zone=ZONE, instance="vm").status == "RUNNING"
    compute.emulator.clock.advance(2)
    assert compute.instances.get(project=PROJECT, zone=ZONE, instance="vm").status == "TERMINATED"


def test_a_disk_that_does_not_go_with_its_machine(compute: Compute, order: Order) -> None:
    order("disk-stays", name="vm")
    for name in ("vm", "other"):
        compute.create(name)
        compute.delete(name)
    assert compute.names("instances") == []
    assert compute.names("disks") == ["vm"]
    compute.ok(compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk="vm"))


def test_faults_reach_cloud_storage_too(emulator: Emulator) -> None:
    emulator.faults.add("http", method="GET", path="/storage/v1/b/my-project_cloudbuild", status=503)
    client = Client.create_anonymous_client()
    with pytest.raises(ServiceUnavailable):
        client.get_bucket("my-project_cloudbuild", retry=None)
    assert client.get_bucket("my-project_cloudbuild").name == "my-project_cloudbuild"
    assert [call.status for call in emulator.calls.list(service="storage")] == [503, 200]


@pytest.mark.parametrize(("when", "there_meanwhile"), [("before", False), ("after", True)])
@pytest.mark.parametrize("service", ["compute", "storage"])
def test_a_request_is_held_before_or_after_it_is_carried_out_until_the_fault_is_removed(
    emulator: Emulator, service: str, when: str, there_meanwhile: bool
) -> None:
    compute, bucket = Compute(emulator), Client.create_anonymous_client().bucket("my-project_cloudbuild")
    things: dict[str, tuple[Callable[[str], Any], Callable[[], list[str]]]] = {
        "compute": (lambda name: compute.insert_image(name), lambda: compute.names("images")),
        "storage": (
            lambda name: bucket.blob(name).upload_from_string(b"x"),
            lambda: [blob.name for blob in bucket.list_blobs()],
        ),
    }
    make, names = things[service]
    fault = emulator.faults.add("hold", method="PUT|POST", path="(images|upload/)", skip=1, when=when)
    make("first")
    making = threading.Thread(target=make, args=("second",))
    making.start()
    wait_for(lambda: [each["held"] for each in emulator.faults.list()] == [1])
    assert names() == (["first", "second"] if there_meanwhile else ["first"])
    assert making.is_alive()
    emulator.faults.clear(fault)
    making.join()
    assert names() == ["first", "second"]
    assert emulator.faults.list() == []


def test_an_upload_whose_answer_is_cut_off_was_carried_out_or_not(emulator: Emulator) -> None:
    bucket = Client.create_anonymous_client().bucket("my-project_cloudbuild")
    for when in ("before", "after"):
        emulator.faults.add("drop", method="POST", path="/upload/", when=when)
        with pytest.raises(RequestException):
            bucket.blob(when).upload_from_string(b"x", retry=None)
    assert [blob.name for blob in bucket.list_blobs()] == ["after"]


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("faults", {"kind": "flood"}, "no such fault: flood"),
        ("faults", {"kind": "http", "colour": 1}, "colour"),
        ("faults", {"kind": "http", "path": "("}, "not a regular expression"),
        ("faults", {"kind": "drop", "when": "never"}, "before or after"),
        ("faults", [], "An object is expected"),
        ("scripts", {"lines": []}, "lines"),
        ("scripts", {"events": [{"say": "x"}]}, "event with unknown say"),
        ("scripts", {"events": [{"text": "x", "port": 9}]}, "no serial port 9"),
        ("scripts", {"events": [], "match": {"size": 1}}, "cannot match by size"),
        ("clock", {"advance": -1}, "cannot be turned back"),
        ("clock", {}, "advance"),
        ("stock-outs", {}, "zone"),
    ],
)
def test_a_wrong_order_is_refused(emulator: Emulator, path: str, content: object, words: str) -> None:
    status, answer = call(emulator, "POST", f"/emulator/{path}", content)
    assert status == 400
    assert words in answer["error"]["message"]


def test_the_emulators_own_api(emulator: Emulator) -> None:
    compute = Compute(emulator)
    script = {"match": {"name": "vm.*"}, "events": [{"text": "hi", "port": 1}]}
    number = call(emulator, "POST", "/emulator/scripts", script)[1]["id"]
    assert call(emulator, "GET", "/emulator/scripts")[1]["scripts"][0]["match"] == {"name": "vm.*"}
    compute.create()
    assert compute.serial(port=1).contents == "hi"
    assert call(emulator, "DELETE", f"/emulator/scripts/{number}")[1] == {"scripts": []}
    status = call(emulator, "GET", "/emulator/status")[1]
    assert (status["machines"], status["instances"], status["running"]) == ("scripted", 1, 1)
    before = call(emulator, "GET", "/emulator/clock")[1]["now"]
    assert call(emulator, "POST", "/emulator/clock", {"advance": 100})[1]["now"] >= before + 100
    assert call(emulator, "POST", "/emulator/stock-outs", {"zone": ZONE})[1] == {"stockedOut": [ZONE]}
    assert call(emulator, "POST", "/emulator/stock-outs", {"zone": ZONE, "on": False})[1] == {"stockedOut": []}
    calls = call(emulator, "GET", "/emulator/calls?method=POST")[1]
    assert calls["counts"]["compute POST"] == calls["count"] == len(calls["calls"]) > 0
    assert {"method", "path", "status", "time", "seconds", "service"} == set(calls["calls"][0])
    assert call(emulator, "DELETE", "/emulator/calls")[1]["count"] == 0
    call(emulator, "POST", "/emulator/faults", {"kind": "http", "count": 0})
    assert call(emulator, "GET", IMAGES)[0] == call(emulator, "GET", IMAGES)[0] == 503
    assert len(call(emulator, "GET", "/emulator/faults")[1]["faults"]) == 1
    assert call(emulator, "DELETE", "/emulator/faults")[1] == {"faults": []}
    assert call(emulator, "GET", IMAGES)[0] == 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "many"}, "status: it is to be of type int"),
        ({"status": True}, "status: it is to be of type int"),
        ({"status": 200}, "status: it is to be from 400 to 599"),
        ({"seconds": float("nan")}, "seconds: it is to be from 0 to"),
        ({"count": -1}, "count: it is to be from 0 to"),
        ({"port": 5}, "port: it is to be from 1 to 4"),
        ({"path": 1}, "path: it is to be of type str"),
        ({"leave": "no"}, "leave: it is to be of type bool"),
    ],
)
def test_a_fault_that_cannot_happen_is_refused(emulator: Emulator, fields: dict[str, Any], words: str) -> None:
    status, answer = call(emulator, "POST", "/emulator/faults", {"kind": "http", **fields})
    assert (status, words in answer["error"]["message"]) == (400, True), answer
    with pytest.raises(ValueError, match=words):
        emulator.faults.add("http", **fields)


def test_what_a_fault_slows_down_does_not_hold_up_the_removal_of_its_project(compute: Compute) -> None:
    compute.emulator.faults.add("operation", method="insert", seconds=10**8, count=0)
    compute.insert_image("slow")
    compute.emulator.remove_project(PROJECT, 30)
    assert compute.names("images") == []


def test_scripts_are_chosen_and_filled_from_the_instance(compute: Compute) -> None:
    scripts = compute.emulator.scripts
    scripts.add({"events": [{"text": "any"}]})
    scripts.add({"match": {"metadata": {"kind": "^b"}}, "events": [{"text": "by metadata"}]})
    scripts.add(
        {
            "match": {"name": "named-.*"},
            "variables": {"nonce": {"metadata": "user-data", "pattern": r"nonce=(\w+)"}},
            "events": [{"text": "${nonce} ${other} $nonce"}],
        }
    )

    def said(name: str, **metadata: str) -> str:
        items = [compute_v1.Items(key=key.replace("_", "-"), value=value) for key, value in metadata.items()]
        compute.create(name, metadata=compute_v1.Metadata(items=items))
        return str(compute.serial(name).contents)

    assert said("vm") == "any"
    assert said("vm2", kind="best") == "by metadata"
    assert said("named-1", user_data="x nonce=ab12 y") == "ab12 ${other} $nonce"
    done = compute.wait(compute.insert("named-2"))
    assert "holds no nonce" in done.error.errors[0].message
    assert "named-2" not in compute.names("instances")


def test_a_scripted_machine_costs_no_thread(emulator: Emulator) -> None:
    compute = Compute(emulator)
    emulator.scripts.add({"events": [{"after": 60, "text": "late"}]})
    compute.create()
    compute.serial()
    before = threading.active_count()
    for number in range(5):
        compute.create(f"vm{number}")
        compute.serial(f"vm{number}")
    assert threading.active_count() <= before


TAKEN_BACK: list[tuple[str, str, str, object]] = [
    ("setLabels", "POST", f"{DISKS}/d", {"labels": {"a": "b"}}),
    ("setLabels", "POST", f"{INSTANCES}/vm", {"labels": {"a": "b"}}),
    ("setLabels", "POST", f"{SNAPSHOTS}/s", {"labels": {"a": "b"}}),
    ("setTags", "POST", f"{INSTANCES}/vm", {"items": ["x"]}),
    ("setMetadata", "POST", f"{INSTANCES}/vm", {"items": [{"key": "k", "value": "v"}]}),
    ("setScheduling", "POST", f"{INSTANCES}/vm", {"automaticRestart": False}),
    ("setMachineType", "POST", f"{INSTANCES}/off", {"machineType": f"zones/{ZONE}/machineTypes/e2-medium"}),
    ("setDiskAutoDelete?deviceName=persistent-disk-0", "POST", f"{INSTANCES}/vm", {}),
    ("setDeletionProtection", "POST", f"{INSTANCES}/vm", {}),
    ("addAccessConfig?networkInterface=nic0", "POST", f"{INSTANCES}/vm", {}),
    ("attachDisk", "POST", f"{INSTANCES}/vm", {"source": disk_path("d")}),
    ("detachDisk?deviceName=data", "POST", f"{INSTANCES}/vm", {}),
    ("suspend", "POST", f"{INSTANCES}/vm", {}),
    ("resume", "POST", f"{INSTANCES}/still", {}),
    ("reset", "POST", f"{INSTANCES}/vm", {}),
    ("start", "POST", f"{INSTANCES}/off", {}),
    ("resize", "POST", f"{DISKS}/d", {"sizeGb": "20"}),
    ("createSnapshot", "POST", f"{DISKS}/d", {"name": "other"}),
    ("deprecate", "POST", f"{IMAGES}/i", {"state": "DEPRECATED"}),
    ("patch", "PATCH", f"{IMAGES}/i", {"family": "f"}),
    ("setCommonInstanceMetadata", "POST", OURS, {"items": [{"key": "k", "value": "v"}]}),
    ("delete", "DELETE", f"{DISKS}/d", None),
    ("delete", "DELETE", f"{IMAGES}/i", None),
    ("delete", "DELETE", f"{SNAPSHOTS}/s", None),
    ("delete", "DELETE", f"{INSTANCES}/vm", None),
    ("delete", "DELETE", f"{TEMPLATES}/t", None),
    ("insert", "POST", DISKS, {"name": "new", "sizeGb": "1"}),
    ("insert", "POST", INSTANCES, body("new")),
    ("insert", "POST", SNAPSHOTS, {"name": "new", "sourceDisk": disk_path("d")}),
    ("insert", "POST", TEMPLATES, {"name": "new", "properties": {"machineType": "e2-medium"}}),
]


def resources(emulator: Emulator) -> dict[str, object]:
    """All resources of our project, as the API shows them, but for the times of their disks' use."""
    found: dict[str, Any] = {
        kind: call(emulator, "GET", kind)[1].get("items", [])
        for kind in (DISKS, IMAGES, SNAPSHOTS, INSTANCES, TEMPLATES)
    }
    for disk in found[DISKS]:
        for stamp in ("lastAttachTimestamp", "lastDetachTimestamp"):
            disk.pop(stamp, None)
    for instance in found[INSTANCES]:
        instance.pop("lastStartTimestamp", None)
    return {**found, OURS: call(emulator, "GET", OURS)[1]["commonInstanceMetadata"]}


def test_whatever_operation_fails_leaves_all_as_it_was(compute: Compute) -> None:
    emulator = compute.emulator
    for name in ("d", "e"):
        compute.disk(name)
    compute.image("i")
    compute.snapshot("s", "d")
    for name in ("vm", "off", "still"):
        compute.create(name)
    compute.stop("off")
    compute.ok(compute.instances.suspend_unary(project=PROJECT, zone=ZONE, instance="still"))
    data = compute_v1.AttachedDisk(source=disk_path("e"), device_name="data")
    compute.ok(
        compute.instances.attach_disk_unary(project=PROJECT, zone=ZONE, instance="vm", attached_disk_resource=data)
    )
    template = {"name": "t", "properties": {"machineType": "e2-medium"}}
    assert call(emulator, "POST", TEMPLATES, template)[0] == 200
    before = resources(emulator)
    for method, verb, path, content in TAKEN_BACK:
        emulator.faults.add("operation", method=method.partition("?")[0], code="X")
        asked = path if method in ("insert", "delete", "patch") else f"{path}/{method}"
        status, operation = call(emulator, verb, asked, content)
        assert status == 200, (method, path, operation)
        done = compute.wait(SimpleNamespace(name=operation["name"], zone=operation.get("zone", "")))
        assert [error.code for error in done.error.errors] == ["X"], (method, path)
        assert resources(emulator) == before, (method, path)
