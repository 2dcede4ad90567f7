"""What an emulator leaves behind is taken up by the next one, however it ended."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from google.cloud.storage import Client
from support.compute_clients import INSTANCES, PROJECT, SNAPSHOTS, ZONE, Compute, body, call
from support.waiting import PATIENCE, wait_for

from cos_customizer.emulator.compute.store import Store
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.machines.scripted import ScriptedBackend
from cos_customizer.emulator.server import Emulator

ZONAL = f"projects/{PROJECT}/zones/{ZONE}"
VM = f"{ZONAL}/instances/vm"


class Recording(ScriptedBackend):
    """Remembers which disks and images there are."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted: list[str] = []

    def delete_disk(self, key: str) -> None:
        self.deleted.append(key)

    def delete_image(self, key: str) -> None:
        self.deleted.append(key)


def test_everything_is_there_again_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(tmp_path) as first:
        compute = Compute(first)
        vm = compute.create(labels={"a": "b"})
        compute.image("i", family="f")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", first.environment()["STORAGE_EMULATOR_HOST"])
        blob = Client.create_anonymous_client().bucket("my-project_cloudbuild").blob("kept")
        blob.upload_from_string("text")
    with Emulator(tmp_path) as second:
        second.scripts.add({"events": [{"text": "again"}]})
        compute = Compute(second)
        again = compute.instances.get(project=PROJECT, zone=ZONE, instance="vm")
        assert (again.status, again.id, dict(again.labels)) == ("TERMINATED", vm.id, {"a": "b"})
        assert compute.images.get_from_family(project=PROJECT, family="f").status == "READY"
        assert compute.names("disks") == ["vm"]
        compute.ok(compute.instances.start_unary(project=PROJECT, zone=ZONE, instance="vm"))
        assert compute.serial().contents == "again"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", second.environment()["STORAGE_EMULATOR_HOST"])
        blob = Client.create_anonymous_client().bucket("my-project_cloudbuild").blob("kept")
        assert blob.download_as_bytes() == b"text"
        compute.delete()
        assert compute.names("disks") == []


def test_clients_of_a_stopped_emulator_notice(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        compute = Compute(emulator)
        compute.image("i")
        port = emulator.port
    with pytest.raises(ConnectionError):
        call(emulator, "GET", INSTANCES)
    with Emulator(tmp_path, port=port):  # the port is free again, and the client's kept connection is not reused
        assert compute.images.get(project=PROJECT, image="i").name == "i"


def test_one_emulator_at_a_time_uses_a_directory(tmp_path: Path) -> None:
    with Emulator(tmp_path), pytest.raises(EmulatorError, match="another emulator uses"):
        Emulator(tmp_path)
    with Emulator(tmp_path):
        pass


def test_machines_of_another_kind_are_not_taken_over(tmp_path: Path) -> None:
    class Other(ScriptedBackend):
        name = "other"

    with Emulator(tmp_path):
        pass
    with pytest.raises(EmulatorError, match="holds machines of kind scripted, not other"):
        Emulator(tmp_path, Other())


def test_a_taken_port_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with Emulator(tmp_path / "a") as first:
        with pytest.raises(EmulatorError, match="cannot listen"):
            Emulator(tmp_path / "b", port=first.port)
        with pytest.raises(EmulatorError, match="cannot listen"):
            Emulator(tmp_path / "b", storage_port=first.storage_port)
        with Emulator(tmp_path / "b"):
            pass


HALF_MADE = (
    ("insert", "images/half"),
    ("insert", "snapshots/half"),
    ("insert", "instances/half"),
    ("delete", "disks/gone"),
)


def _serve(directory: str, ports: "multiprocessing.Queue[int]") -> None:
    emulator = Emulator(Path(directory)).start()
    for action, path in HALF_MADE:
        emulator.faults.add("operation", method=action, path=path, seconds=3600)
    ports.put(emulator.port)
    time.sleep(3600)


def test_a_killed_emulator_leaves_nothing_half_made(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ports: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=_serve, args=(str(tmp_path), ports))
    process.start()
    try:
        port = ports.get(timeout=PATIENCE)

        class There:
            pass

        there = There()
        there.port = port  # type: ignore[attr-defined]
        for name in ("vm", "half"):
            disks = [*body()["disks"], {"initializeParams": {"diskSizeGb": "1"}}]
            call(there, "POST", INSTANCES, body(name, disks=disks))  # type: ignore[arg-type]

        def is_there(path: str, status: str) -> bool:
            return bool(call(there, "GET", path)[1]["status"] == status)  # type: ignore[arg-type]

        wait_for(lambda: is_there(f"{INSTANCES}/vm", "RUNNING"))
        zone, images = INSTANCES.removesuffix("/instances"), f"/compute/v1/projects/{PROJECT}/global/images"
        call(there, "POST", f"{zone}/disks", {"name": "gone"})  # type: ignore[arg-type]
        wait_for(lambda: is_there(f"{zone}/disks/gone", "READY"))
        call(there, "DELETE", f"{zone}/disks/gone")  # type: ignore[arg-type]
        source = {"name": "half", "sourceImage": "projects/cos-cloud/global/images/family/cos-stable"}
        assert call(there, "POST", images, source)[0] == 200  # type: ignore[arg-type]
        snapshot = {"name": "half", "sourceDisk": f"projects/{PROJECT}/zones/{ZONE}/disks/vm"}
        assert call(there, "POST", SNAPSHOTS, snapshot)[0] == 200  # type: ignore[arg-type]
    finally:
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    backend = Recording()
    with Emulator(tmp_path, backend) as emulator:
        compute = Compute(emulator)
        assert emulator.get(VM)["status"] == "TERMINATED"
        assert compute.names("instances") == ["vm"]
        assert compute.names("disks") == ["vm", "vm-1"]
        for kind in ("images", "snapshots"):
            assert emulator.get(f"projects/{PROJECT}/global/{kind}/half")["status"] == "FAILED"
        assert sum(key.startswith("disk-") for key in backend.deleted) == 3
        assert sum(key.startswith("image-") for key in backend.deleted) == 1
        compute.create("half")  # the name is free


KILLED: list[tuple[str, dict[str, dict[str, Any] | None], dict[str, Any]]] = [
    # when it was killed, what of the store was written by then, and what the next emulator makes of it
    ("before it noted who uses a disk", {f"{ZONAL}/disks/d": {"users": None}}, {"users": ["vm"]}),
    ("after a disk could not be made", {f"{ZONAL}/disks/free": {"status": "FAILED"}}, {"free": "FAILED"}),
    ("while it made a disk", {f"{ZONAL}/disks/free": {"status": "CREATING"}}, {"free": ""}),
    ("while it deleted a disk", {f"{ZONAL}/disks/free": {"status": "DELETING"}}, {"free": ""}),
    (
        "while it deleted an instance",
        {VM: {"status": "STOPPING"}, f"{ZONAL}/disks/vm": None},
        {"vm": "", "vm-1": "", "users": []},
    ),
]


@pytest.mark.parametrize(("written", "becomes"), [row[1:] for row in KILLED], ids=[row[0] for row in KILLED])
def test_what_a_killed_emulator_had_begun_is_finished_or_undone(
    tmp_path: Path, written: dict[str, dict[str, Any] | None], becomes: dict[str, Any]
) -> None:
    with Emulator(tmp_path) as first:
        compute = Compute(first)
        for name in ("d", "free"):
            compute.disk(name)
        disks = [
            *body()["disks"],
            {"autoDelete": True, "initializeParams": {"diskSizeGb": "1"}},
            {"source": f"{ZONAL}/disks/d"},
        ]
        assert call(first, "POST", INSTANCES, body(disks=disks))[0] == 200
        wait_for(lambda: bool(first.get(VM)["status"] == "RUNNING"))
    store = Store(tmp_path)
    for path, changes in written.items():
        if changes is None:
            store.delete(path)
        else:
            store.update(path, **changes)
    store.close()
    with Emulator(tmp_path) as second:
        there = {disk["name"]: disk for disk in second.list(f"{ZONAL}/disks")}
        expected = {"vm": "READY", "vm-1": "READY", "free": "READY", "d": "READY", "users": ["vm"], **becomes}
        users = expected.pop("users")
        assert {name: disk["status"] for name, disk in there.items()} == {k: v for k, v in expected.items() if v}
        assert [user.rpartition("/")[2] for user in there["d"].get("users", [])] == users
        assert Compute(second).names("instances") == users


def test_nothing_of_an_emulator_remains_in_the_process(tmp_path: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(3):
        with Emulator(tmp_path / str(number)) as emulator:
            call(emulator, "GET", INSTANCES)
    wait_for(lambda: not {thread.name for thread in threading.enumerate()} - before)
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1
