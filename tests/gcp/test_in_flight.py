"""Requests that create something: whoever interrupts one waits for nothing, and what comes of it is found."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from support.compute_clients import Compute
from support.storage_clients import anonymous_bucket
from support.waiting import wait_for

from cos_customizer.customizer import deadline, errors
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import ObjectRef, VmRef
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import calls, in_flight, instances, scratch
from cos_customizer.gcp.clients import connect

VM = VmRef("my-project", "us-west1-b", "cos-customizer-0123456789")
REMOVAL = Removal("VM", VM.zone, VM.name, "delete", "left of a build")
BODY = {
    "name": VM.name,
    "machineType": "zones/us-west1-b/machineTypes/n1-standard-1",
    "disks": [
        {
            "boot": True,
            "autoDelete": True,
            "initializeParams": {"sourceImage": "projects/cos-cloud/global/images/family/cos-125-lts"},
        }
    ],
    "networkInterfaces": [{"network": "global/networks/default"}],
}


class Interrupted(BaseException):
    """What ends the waiting."""


@pytest.fixture(autouse=True)
def _in_a_build() -> Iterator[None]:
    with in_flight.remembered():
        yield


@pytest.fixture
def interruption() -> Iterator[None]:
    """SIGUSR1 ends whatever the main thread waits for."""

    def end(_number: int, _frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, end)
    yield
    signal.signal(signal.SIGUSR1, before)


def interrupt() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


def gone() -> list[Removal]:
    return [REMOVAL.ended("gone")]


def test_a_vm_whose_insertion_was_interrupted_is_awaited_and_deleted(emulator: Emulator, interruption: None) -> None:
    compute = Compute(emulator)
    emulator.faults.add("delay", method="POST", path="/instances[?]", seconds=1.0)
    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(Interrupted):
        instances.create_vm(connect(), VM, BODY, BuildNames("0123456789"))
    assert compute.names("instances") == []
    removals = instances.delete_vm(connect(), VM)
    assert [(removal.kind, removal.action) for removal in removals] == [("VM", "deleted"), ("disk", "deleted")]
    assert emulator.calls.count("compute", "POST", "/instances[?]") == 1
    assert compute.names("instances") == []


def test_an_object_whose_upload_was_interrupted_is_awaited_and_deleted(
    emulator: Emulator, interruption: None, tmp_path: Path
) -> None:
    file = tmp_path / "context.tar.gz"
    file.write_bytes(b"x" * 1000)
    target = ObjectRef("my-project_cloudbuild", "work/context.tar.gz")
    emulator.faults.add("delay", method="POST", path="/upload/", seconds=1.0)
    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(Interrupted):
        scratch.upload(connect(), target, file, {}, time.time())
    assert [removal.action for removal in scratch.delete(connect(), target)] == ["deleted"]
    assert list(anonymous_bucket().list_blobs()) == []


def test_of_a_long_upload_nothing_more_is_sent_once_it_was_interrupted(
    emulator: Emulator, interruption: None, tmp_path: Path
) -> None:
    file = tmp_path / "context.tar.gz"
    with file.open("wb") as sparse:
        sparse.truncate(40 << 20)
    emulator.faults.add("delay", method="PUT", path="/upload/", seconds=0.2, count=0)
    target = ObjectRef("my-project_cloudbuild", "work/context.tar.gz")

    def interrupt_on_its_way() -> None:
        wait_for(lambda: emulator.calls.count("storage", "PUT"))
        interrupt()

    threading.Thread(target=interrupt_on_its_way, daemon=True).start()
    with pytest.raises(Interrupted):
        scratch.upload(connect(), target, file, {}, time.time())
    # Its last part was never sent, so there is nothing to wait for.
    assert [removal.action for removal in scratch.delete(connect(), target)] == ["gone"]
    assert emulator.calls.count("storage", "DELETE") == 1
    assert emulator.calls.count("storage", "PUT") < 5
    assert list(anonymous_bucket().list_blobs()) == []


def test_an_interrupted_request_is_not_sent_again(interruption: None) -> None:
    tries: list[int] = []

    def refuse(**_: Any) -> None:
        tries.append(1)
        interrupt()
        time.sleep(0.1)
        raise exceptions.ServiceUnavailable("later")  # type: ignore[no-untyped-call]

    with pytest.raises(Interrupted):
        calls.send(refuse, None, "create it", VM)
    in_flight.take_back(VM, REMOVAL, gone)
    assert tries == [1]


ERRORS = {
    "no answer": (requests.exceptions.ReadTimeout("late"), False),
    "cut off": (requests.exceptions.ConnectionError("Connection aborted."), False),
    "nobody there": (requests.exceptions.ConnectionError("[Errno 111] Connection refused"), True),
    "refused": (exceptions.Forbidden("no"), True),  # type: ignore[no-untyped-call]
}


@pytest.mark.parametrize(("error", "is_known"), ERRORS.values(), ids=ERRORS)
def test_what_came_without_an_answer_is_looked_for_until_it_comes(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_known: bool
) -> None:
    monkeypatch.setattr(calls, "is_transient", lambda _: False)
    monkeypatch.setattr(in_flight, "_INTERVAL", 0.01)

    def fail(**_: Any) -> None:
        raise error

    with pytest.raises(errors.CustomizerError):
        calls.send(fail, None, "create it", VM)
    looks: list[int] = []

    def delete() -> list[Removal]:
        looks.append(1)
        return [REMOVAL.ended("deleted" if len(looks) == 5 else "gone")]

    (removal,) = in_flight.take_back(VM, REMOVAL, delete)
    assert (len(looks), removal.action) == ((1, "gone") if is_known else (5, "deleted"))


def test_what_may_still_come_when_the_time_is_up_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "is_transient", lambda _: False)
    monkeypatch.setattr(in_flight, "_INTERVAL", 0.01)

    def fail(**_: Any) -> None:
        raise requests.exceptions.ReadTimeout("late")

    with pytest.raises(errors.CustomizerError):
        calls.send(fail, None, "create it", VM)
    with deadline.until(time.monotonic() + 0.1):
        (removal,) = in_flight.take_back(VM, REMOVAL, gone)
    assert removal.action == "failed"
    assert "may still come" in removal.reason


def test_outside_the_main_thread_a_request_is_made_all_the_same() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(calls.send(lambda **_: 42, None, "create it", VM)))
    thread.start()
    thread.join()
    assert found == [42]
