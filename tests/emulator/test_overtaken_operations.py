"""Operations that others overtake: each acts on the resource that it was asked about, never on a later one of its name.

A slow operation stands for one that waits for its turn: it is begun, and carried out when the emulator's clock says so.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.compute_clients import (
    COS,
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

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.machines.scripted import ScriptedBackend, ScriptedMachine
from cos_customizer.emulator.server import Emulator

VM = f"{INSTANCES}/vm"
SLOW = 100.0


class Files(ScriptedBackend):
    """A scripted backend that knows which files there would be.

    Attributes:
        files: of disks, images and snapshots.
        fails: whether making a disk fails half-way.
        goes_on: disks are made while this is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.files: set[str] = set()
        self.fails = False
        self.goes_on = threading.Event()
        self.goes_on.set()

    def create_disk(self, key: str, image: str | None, size_gb: int) -> None:  # noqa: ARG002
        self.files.add(key)
        self.goes_on.wait()
        if self.fails:
            raise EmulatorError("No space left on device")

    def delete_disk(self, key: str) -> None:
        self.files.discard(key)

    def create_image(self, key: str, disk: str) -> int:
        assert disk in self.files
        self.files.add(key)
        return 100 << 20

    def delete_image(self, key: str) -> None:
        self.files.discard(key)


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Files) -> Iterator[Compute]:
    with Emulator(tmp_path / "emulator", files, projects=(PROJECT,)) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield Compute(running)


class Begun:
    """An operation that plain HTTP has begun."""

    def __init__(self, compute: Compute, verb: str, path: str, content: object = None) -> None:
        status, self.shown = call(compute.emulator, verb, path, {} if content is None else content)
        assert status == 200, self.shown
        self._compute = compute
        self.name, self.zone = self.shown["name"], self.shown.get("zone", "")

    def error(self) -> str:
        """The code of its error when it is done; nothing if it has none."""
        errors = self._compute.wait(self).error.errors
        return str(errors[0].code) if errors else ""


def slowly(compute: Compute, method: str, verb: str, path: str, content: object = None, code: str = "") -> Begun:
    compute.emulator.faults.add("operation", method=method, seconds=SLOW, code=code)
    return Begun(compute, verb, path, content)


def at_last(compute: Compute) -> None:
    compute.emulator.clock.advance(2 * SLOW)


def shown(compute: Compute, path: str) -> dict[str, Any]:
    status, resource = call(compute.emulator, "GET", path)
    return resource if status == 200 else {"status": status}


def kept(compute: Compute) -> set[str]:
    """The files that there should be."""
    disks = compute.emulator.list(f"projects/{PROJECT}/zones/-/disks")
    return {f"disk-{disk['id']}" for disk in disks}


CHANGES: list[tuple[str, str, str]] = [
    ("stop", "", "notFound"),
    ("reset", "", "notFound"),
    ("suspend", "", "notFound"),
    ("delete", "", ""),
    ("attachDisk", "", "notFound"),
    ("attachDisk", "X", "X"),
    ("detachDisk", "", "notFound"),
]


@pytest.mark.parametrize(("method", "code", "error"), CHANGES)
def test_a_change_of_an_instance_that_is_gone_does_nothing_to_the_next_one(
    compute: Compute, files: Files, method: str, code: str, error: str
) -> None:
    compute.disk("d")
    compute.create()
    path, content = f"{VM}/{method}", {"source": disk_path("d"), "deviceName": "data"}
    if method == "detachDisk":
        assert Begun(compute, "POST", f"{VM}/attachDisk", content).error() == ""
        path += "?deviceName=data"
    verb, path = ("DELETE", VM) if method == "delete" else ("POST", path)
    late = slowly(compute, method, verb, path, content if method == "attachDisk" else None, code)
    compute.delete()
    compute.create()
    assert Begun(compute, "POST", f"{VM}/attachDisk", content).error() == ""
    before = shown(compute, VM)
    at_last(compute)
    assert late.error() == error
    assert shown(compute, VM) == before
    assert before["status"] == "RUNNING"
    assert shown(compute, f"{DISKS}/d")["users"] == [before["selfLink"]]
    assert files.files == kept(compute)


def test_a_start_of_an_instance_that_is_gone_does_nothing_to_the_next_one(compute: Compute) -> None:
    compute.create()
    compute.stop()
    late = slowly(compute, "start", "POST", f"{VM}/start", code="X")
    compute.delete()
    compute.create()
    at_last(compute)
    assert (late.error(), shown(compute, VM)["status"]) == ("X", "RUNNING")


@pytest.mark.parametrize("auto_delete", [True, False])
@pytest.mark.parametrize(("code", "error"), [("", "notFound"), ("X", "X")])
def test_an_instance_that_is_deleted_before_it_is_made_leaves_nothing_and_spoils_nothing(
    compute: Compute, files: Files, auto_delete: bool, code: str, error: str
) -> None:
    boot = {"boot": True, "autoDelete": auto_delete, "initializeParams": {"sourceImage": COS, "diskName": "first"}}
    late = slowly(compute, "insert", "POST", INSTANCES, body(disks=[boot]), code)
    compute.delete()
    compute.create()
    at_last(compute)
    assert late.error() == error
    assert (shown(compute, VM)["status"], compute.names("disks")) == ("RUNNING", ["vm"])
    assert files.files == kept(compute)


@pytest.mark.parametrize("kind", ["disks", "images", "snapshots"])
def test_what_is_being_deleted_is_not_deleted_again(compute: Compute, kind: str) -> None:
    compute.disk("d")
    compute.image("i")
    compute.snapshot("s", "d")
    path = {"disks": f"{DISKS}/d", "images": f"{IMAGES}/i", "snapshots": f"{SNAPSHOTS}/s"}[kind]
    late = slowly(compute, "delete", "DELETE", path)
    status, answer = call(compute.emulator, "DELETE", path)
    assert (status, answer["error"]["errors"][0]["reason"]) == (400, "resourceNotReady")
    at_last(compute)
    assert (late.error(), shown(compute, path)) == ("", {"status": 404})


@pytest.mark.parametrize(("method", "content"), [("", None), ("/resize", {"sizeGb": "20"})])
def test_a_disk_that_is_being_made_is_not_ready(compute: Compute, files: Files, method: str, content: object) -> None:
    files.goes_on.clear()
    making = Begun(compute, "POST", DISKS, {"name": "d", "sizeGb": "10"})
    verb = "POST" if method else "DELETE"
    status, answer = call(compute.emulator, verb, f"{DISKS}/d{method}", content)
    files.goes_on.set()
    assert (status, answer["error"]["errors"][0]["reason"]) == (400, "resourceNotReady")
    assert (making.error(), shown(compute, f"{DISKS}/d")["status"]) == ("", "READY")


def test_a_disk_that_cannot_be_made_leaves_no_file(compute: Compute, files: Files) -> None:
    files.fails = True
    disk = {"name": "d", "sizeGb": "10"}
    assert Begun(compute, "POST", DISKS, disk).error() == Begun(compute, "POST", INSTANCES, body()).error() != ""
    assert (compute.names("disks"), compute.names("instances"), files.files) == ([], [], set())


def test_a_disk_never_shrinks_by_a_resize_that_comes_late(compute: Compute) -> None:
    compute.disk("d")
    late = slowly(compute, "resize", "POST", f"{DISKS}/d/resize", {"sizeGb": "20"})
    assert Begun(compute, "POST", f"{DISKS}/d/resize", {"sizeGb": "30"}).error() == ""
    at_last(compute)
    assert (late.error(), shown(compute, f"{DISKS}/d")["sizeGb"]) == ("invalid", "30")


def test_a_resize_of_a_disk_that_is_gone_does_nothing_to_the_next_one(compute: Compute) -> None:
    compute.disk("d")
    late = slowly(compute, "resize", "POST", f"{DISKS}/d/resize", {"sizeGb": "20"})
    compute.ok(compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk="d"))
    compute.disk("d")
    at_last(compute)
    assert (late.error(), shown(compute, f"{DISKS}/d")["sizeGb"]) == ("notFound", "10")


def test_a_device_that_is_detached_twice_does_not_take_the_next_one_of_its_name(compute: Compute) -> None:
    compute.create()
    for name in ("d", "e"):
        compute.disk(name)
    attach, detach = f"{VM}/attachDisk", f"{VM}/detachDisk?deviceName=data"
    assert Begun(compute, "POST", attach, {"source": disk_path("d"), "deviceName": "data"}).error() == ""
    late = slowly(compute, "detachDisk", "POST", detach)
    assert Begun(compute, "POST", detach).error() == ""
    assert Begun(compute, "POST", attach, {"source": disk_path("e"), "deviceName": "data"}).error() == ""
    at_last(compute)
    assert late.error() == "invalid"
    assert [disk["source"].rpartition("/")[2] for disk in shown(compute, VM)["disks"]] == ["vm", "e"]


def test_a_boot_disk_stays_with_an_instance_that_was_started_before_it_was_detached(compute: Compute) -> None:
    compute.create()
    compute.stop()
    late = slowly(compute, "detachDisk", "POST", f"{VM}/detachDisk?deviceName=persistent-disk-0")
    assert Begun(compute, "POST", f"{VM}/start").error() == ""
    at_last(compute)
    assert late.error() == "resourceNotReady"
    assert len(shown(compute, VM)["disks"]) == 1


def test_a_suspended_instance_is_resumed_within_the_quota(compute: Compute) -> None:
    compute.create()
    assert Begun(compute, "POST", f"{VM}/suspend").error() == ""
    compute.emulator.quotas.set_limit("", "INSTANCES", 1)
    compute.create("other")
    assert Begun(compute, "POST", f"{VM}/resume").error() == "QUOTA_EXCEEDED"
    assert shown(compute, VM)["status"] == "SUSPENDED"
    compute.delete("other")
    assert Begun(compute, "POST", f"{VM}/resume").error() == ""


SOURCES: list[tuple[str, str, dict[str, Any]]] = [
    (f"{DISKS}/source", DISKS, {"sourceDisk": disk_path("source")}),
    (f"{SNAPSHOTS}/source", DISKS, {"sourceSnapshot": "global/snapshots/source"}),
    (f"{IMAGES}/source", DISKS, {"sourceImage": "global/images/source"}),
    (f"{SNAPSHOTS}/source", IMAGES, {"sourceSnapshot": "global/snapshots/source"}),
    (f"{IMAGES}/source", IMAGES, {"sourceImage": "global/images/source"}),
]


@pytest.mark.parametrize(("source", "collection", "names"), SOURCES)
def test_nothing_is_made_of_a_source_that_has_taken_the_place_of_the_one_that_was_named(
    compute: Compute, files: Files, source: str, collection: str, names: dict[str, Any]
) -> None:
    compute.disk("d")
    collection_of_source, _, name = source.rpartition("/")
    content = {"sizeGb": "10"} if collection_of_source == DISKS else {"sourceDisk": disk_path("d")}
    make = {"name": name, **content}
    assert Begun(compute, "POST", collection_of_source, make).error() == ""
    late = slowly(compute, "insert", "POST", collection, {"name": "made", **names})
    assert Begun(compute, "DELETE", source).error() == ""
    assert Begun(compute, "POST", collection_of_source, make).error() == ""
    before = files.files.copy()
    at_last(compute)
    assert late.error() == "notFound"
    assert files.files == before


def test_a_suspended_instance_is_resumed_where_there_are_machines(compute: Compute) -> None:
    compute.create()
    assert Begun(compute, "POST", f"{VM}/suspend").error() == ""
    compute.emulator.stock_out(ZONE)
    assert Begun(compute, "POST", f"{VM}/resume").error() == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert shown(compute, VM)["status"] == "SUSPENDED"


@pytest.mark.parametrize(
    ("method", "part", "stays"), [("suspend", "freeze", "RUNNING"), ("resume", "thaw", "SUSPENDED")]
)
def test_a_machine_that_does_not_do_it_leaves_the_instance_as_it_was(
    compute: Compute, monkeypatch: pytest.MonkeyPatch, method: str, part: str, stays: str
) -> None:
    def refuse(_: ScriptedMachine) -> None:
        raise EmulatorError("the machine does not do it")

    compute.create()
    if method == "resume":
        assert Begun(compute, "POST", f"{VM}/suspend").error() == ""
    with monkeypatch.context() as patched:
        patched.setattr(ScriptedMachine, part, refuse)
        assert Begun(compute, "POST", f"{VM}/{method}").error() == "INTERNAL_ERROR"
    assert shown(compute, VM)["status"] == stays
    assert Begun(compute, "POST", f"{VM}/{method}").error() == ""


def test_a_stop_that_failed_is_tried_again(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: ScriptedMachine) -> None:
        raise EmulatorError("the machine stays on")

    compute.create()
    with monkeypatch.context() as patched:
        patched.setattr(ScriptedMachine, "cut_power", refuse)
        assert Begun(compute, "POST", f"{VM}/stop").error() == "INTERNAL_ERROR"
    assert Begun(compute, "POST", f"{VM}/stop").error() == ""
    assert shown(compute, VM)["status"] == "TERMINATED"
