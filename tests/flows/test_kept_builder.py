"""`builder.keep_on_failure`: of a build that has failed, the builder VM is left to be looked at, for its time."""

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from support.builds import failing, images, signalled, time_is_up
from support.compute_clients import Compute
from support.guest_scripts import NONCE, marker, script, succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker

from cos_customizer.customizer.references import VmRef
from cos_customizer.customizer.reporting.events import Event, Note, StepChange, listening
from cos_customizer.customizer.reporting.result import KeptVm
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.gcp import sweep
from cos_customizer.gcp.clients import connect

pytestmark = pytest.mark.usefixtures("prefect_server")

KEPT = 7200
OWN_CLOCK = 3600 + 300 + KEPT
"""Seconds: the build's time limit, what a builder VM lives beyond it, and what it may stay."""
LABELS = ("run-script first.sh", "run-script second.sh")
STARTED = marker(f"BuildStep: 1 started {LABELS[0]}")
FAILS = STARTED, marker("BuildStep: 1 failed exit 3"), marker("BuildFailed: step 1 exit 3")

Order = Callable[[Emulator], object]


def plays(*events: dict[str, Any]) -> Order:
    return lambda emulator: emulator.scripts.add(script(*events))


def console_is_refused(emulator: Emulator) -> None:
    emulator.scripts.add(script(STARTED))
    emulator.faults.add("http", status=403, reason="forbidden", path="serialPort", count=0)


def image_fails(emulator: Emulator) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    emulator.faults.add("operation", method="insert", path="/images/", code="INTERNAL_ERROR")


def verification_fails(emulator: Emulator) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    name = "cos-customizer-[0-9a-f]{10}-test"
    emulator.scripts.add({"match": {"name": name}, "variables": NONCE, "events": [marker("BuildFailed: no")]})


def no_capacity(emulator: Emulator) -> None:
    emulator.faults.add("operation", method="insert", path="/instances/", code="ZONE_RESOURCE_POOL_EXHAUSTED")


def runs(event: Event) -> bool:
    return isinstance(event, StepChange)


def spec_of(make_spec: SpecMaker, **parts: Any) -> Any:
    return make_spec(**{"builder": {"keep_on_failure": KEPT}, **parts})


KEPT_AFTER: dict[str, tuple[Order, Callable[[], AbstractContextManager[None]]]] = {
    "a step": (plays(*FAILS), nullcontext),
    "a boot": (plays(marker("BuildFailed: cannot fetch the build context")), nullcontext),
    "the time limit": (plays(STARTED), lambda: time_is_up(runs)),
    "a console that cannot be read": (console_is_refused, nullcontext),
}


def vms(emulator: Emulator) -> list[dict[str, Any]]:
    return list(emulator.list("projects/my-project/zones/-/instances"))


@pytest.mark.parametrize(("order", "ending"), KEPT_AFTER.values(), ids=KEPT_AFTER)
def test_after_a_failure_the_builder_vm_alone_is_left_and_how_to_get_in_is_told(
    emulator: Emulator, make_spec: SpecMaker, order: Order, ending: Callable[[], AbstractContextManager[None]]
) -> None:
    order(emulator)
    began = time.time()
    told: list[Event] = []
    with listening(told.append), ending():
        _, result = failing(spec_of(make_spec), Exception)
    (vm,) = vms(emulator)
    kept = result.kept
    assert kept is not None
    assert leftovers(emulator) == [vm["name"], vm["name"]]
    assert (vm["status"], kept.name, kept.zone, result.leftovers) == ("RUNNING", vm["name"], "us-west1-b", ())
    assert OWN_CLOCK - 1 <= kept.until.timestamp() - began <= OWN_CLOCK + time.time() - began
    assert kept.get_in == f"gcloud compute ssh {vm['name']} --project=my-project --zone=us-west1-b"
    assert kept.delete == f"gcloud compute instances delete {vm['name']} --project=my-project --zone=us-west1-b"
    said = {event.topic: event.text for event in told if isinstance(event, Note)}
    assert said["kept"].startswith(f"builder VM {vm['name']} in us-west1-b, until 20")
    assert (said["to get in"], said["to delete it"]) == (kept.get_in, kept.delete)


NOT_KEPT: dict[str, tuple[Order, dict[str, Any], Callable[[], AbstractContextManager[None]]]] = {
    "it was not asked for": (plays(*FAILS), {"builder": {}}, nullcontext),
    "somebody interrupts": (plays(STARTED), {}, lambda: signalled(signal.SIGINT, runs)),
    "the VM has stopped": (plays(STARTED, {"after": 0.1, "power_off": True}), {}, nullcontext),
    "the image fails": (image_fails, {}, nullcontext),
    "the verification fails": (verification_fails, {"verify": {"boot": True}}, nullcontext),
    "there is no VM": (no_capacity, {}, nullcontext),
}


@pytest.mark.parametrize(("order", "parts", "ending"), NOT_KEPT.values(), ids=NOT_KEPT)
def test_nothing_is_left_where_there_is_nothing_to_look_at_or_nobody_who_would(
    emulator: Emulator,
    make_spec: SpecMaker,
    monkeypatch: pytest.MonkeyPatch,
    order: Order,
    parts: dict[str, Any],
    ending: Callable[[], AbstractContextManager[None]],
) -> None:
    monkeypatch.setattr("cos_customizer.gcp.guest_console._STATUS_INTERVAL", 0.2)
    order(emulator)
    with ending():
        _, result = failing(spec_of(make_spec, **parts), BaseException)
    assert (result.kept, leftovers(emulator)) == (None, [])


def test_a_success_leaves_nothing_and_a_kept_vm_is_in_no_build_s_way(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(*FAILS))
    failing(spec_of(make_spec), Exception)
    (kept,) = vms(emulator)
    emulator.scripts.add(succeeding(*LABELS))
    result = build_image(spec_of(make_spec))
    assert (result.outcome, result.kept) == ("built", None)
    assert images(emulator)["my-image"]["status"] == "READY"
    assert [vm["name"] for vm in vms(emulator)] == [kept["name"]]


def test_a_kept_vm_stays_for_its_time_and_is_deleted_by_its_own_clock(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(*FAILS))
    _, result = failing(spec_of(make_spec), Exception)
    assert result.kept is not None
    emulator.clock.advance(OWN_CLOCK - 300)
    assert [vm["name"] for vm in vms(emulator)] == [result.kept.name]
    emulator.clock.advance(300)
    assert leftovers(emulator) == []


def test_one_that_somebody_has_stopped_is_taken_by_sweep_once_it_has_expired(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    emulator.scripts.add(script(*FAILS))
    _, result = failing(spec_of(make_spec), Exception)
    assert result.kept is not None
    compute, clients, scope = Compute(emulator), connect(), sweep.SweepScope("my-project", [], [])
    name = result.kept.name
    compute.ok(compute.instances.stop_unary(project="my-project", zone="us-west1-b", instance=name))
    emulator.clock.advance(OWN_CLOCK)
    assert [vm["status"] for vm in vms(emulator)] == ["TERMINATED"], "its own clock ends only what runs"

    def swept(now: float) -> list[str]:
        removals = sweep.apply(clients, "my-project", sweep.plan(clients, scope, now), now)
        return [removal.name for removal in removals if removal.action in ("deleted", "gone")]

    until = result.kept.until.timestamp()
    assert swept(until + 3500) == []
    assert set(swept(until + 3700)) == {name}
    assert vms(emulator) == []


def test_without_an_external_address_the_shell_goes_through_a_tunnel() -> None:
    kept = KeptVm.of(VmRef("p", "z", "vm"), 1_800_000_000.5, tunnel=True)
    assert kept.get_in == "gcloud compute ssh vm --project=p --zone=z --tunnel-through-iap"
    assert kept.model_dump(mode="json")["until"] == "2027-01-15T08:00:00Z"
