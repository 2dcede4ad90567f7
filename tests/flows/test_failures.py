"""Why a build has not succeeded, in parts: cause, phase, step, exit code, place; the same wherever it is told."""

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from support.builds import failing, signalled, time_is_up
from support.guest_scripts import NONCE, marker, said, script, succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker

from cos_customizer.customizer.reporting.events import Event, StepChange
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
FIRST = marker(f"BuildStep: 1 started {LABELS[0]}"), marker("BuildStep: 1 succeeded 0.4")
SECOND = marker(f"BuildStep: 2 started {LABELS[1]}")
PLACE = marker("BuildStep: 2 at 12\tlib/tools.sh\tcp app /opt")
FAILED = marker("BuildStep: 2 failed exit 3"), marker("BuildFailed: step 2 exit 3")
POLICY = "Constraint constraints/compute.requireShieldedVm violated for project my-project."
INSERT = {"method": "insert", "path": "/instances/"}
IN_SECOND = {"phase": "steps", "step": 2, "step_label": LABELS[1]}

Ending = Callable[[], AbstractContextManager[None]]
Order = Callable[[Emulator], object]


def on_builder(*events: dict[str, Any]) -> Order:
    return lambda emulator: emulator.scripts.add(script(*events))


def on_test_vm(*events: dict[str, Any]) -> Order:
    def order(emulator: Emulator) -> None:
        emulator.scripts.add(succeeding(*LABELS))
        name = "cos-customizer-[0-9a-f]{10}-test"
        emulator.scripts.add({"match": {"name": name}, "variables": NONCE, "events": list(events)})

    return order


def faulty(**fault: Any) -> Order:
    def order(emulator: Emulator) -> None:
        emulator.scripts.add(succeeding(*LABELS))
        emulator.faults.add("operation", **fault)

    return order


def nothing(_emulator: Emulator) -> None:
    pass


CASES: dict[str, tuple[Order, dict[str, Any], dict[str, Any]]] = {
    # what happens, parts of the specification, the failure without message and hint
    "a script": (
        on_builder(*FIRST, SECOND, PLACE, *FAILED),
        {},
        {
            "cause": "step-failed",
            **IN_SECOND,
            "exit_code": 3,
            "file": "lib/tools.sh",
            "line": 12,
            "command": "cp app /opt",
        },
    ),
    "a script whose place was lost": (
        on_builder(*FIRST, SECOND, *FAILED),
        {},
        {"cause": "step-failed", **IN_SECOND, "exit_code": 3},
    ),
    "a step without an exit code": (
        on_builder(*FIRST, SECOND, marker("BuildFailed: step 2 was interrupted by a reboot before it finished")),
        {},
        {"cause": "step-failed", **IN_SECOND},
    ),
    "a place that a script has printed": (
        on_builder(*FIRST, SECOND, said("BuildStep[0123456789abcdef]: 2 at 1\ta\tb\n"), *FAILED),
        {},
        {"cause": "step-failed", **IN_SECOND, "exit_code": 3},
    ),
    "before the steps": (
        on_builder(marker("BuildFailed: cannot fetch the build context")),
        {},
        {"cause": "guest-failed", "phase": "boot"},
    ),
    "the VM has stopped": (
        on_builder(*FIRST, SECOND, {"after": 0.1, "crash": True}),
        {},
        {"cause": "lost-vm", **IN_SECOND},
    ),
    "no capacity": (
        faulty(**INSERT, code="ZONE_RESOURCE_POOL_EXHAUSTED"),
        {},
        {"cause": "stock-out", "phase": "builder VM"},
    ),
    "no quota": (faulty(**INSERT, code="QUOTA_EXCEEDED"), {}, {"cause": "quota", "phase": "builder VM"}),
    "a policy": (
        faulty(**INSERT, code="CONDITION_NOT_MET", message=POLICY),
        {},
        {"cause": "policy", "phase": "builder VM"},
    ),
    "not permitted": (
        lambda emulator: emulator.faults.add("http", status=403, reason="forbidden", path="/instances", method="POST"),
        {},
        {"cause": "permission", "phase": "builder VM"},
    ),
    "Google's own trouble": (
        faulty(method="insert", path="/images/", code="INTERNAL_ERROR"),
        {},
        {"cause": "unavailable", "phase": "image"},
    ),
    "no such source": (nothing, {"source": {"name": "cos-none"}}, {"cause": "recipe", "phase": "prepare"}),
    "a script that verifies": (
        on_test_vm(
            marker("BuildStep: 1 started run-script first.sh"),
            marker("BuildStep: 1 at -\tfirst.sh\t"),
            marker("BuildStep: 1 failed exit 7"),
            marker("BuildFailed: step 1 exit 7"),
        ),
        {"verify": {"scripts": ["first.sh"]}},
        {
            "cause": "verification",
            "phase": "verify",
            "step": 1,
            "step_label": LABELS[0],
            "exit_code": 7,
            "file": "first.sh",
        },
    ),
    "a test VM that fails": (
        on_test_vm(marker("BuildFailed: no context")),
        {"verify": {"boot": True}},
        {"cause": "verification", "phase": "test boot"},
    ),
    "a test VM that stops": (
        on_test_vm({"after": 0.1, "crash": True}),
        {"verify": {"boot": True}},
        {"cause": "lost-vm", "phase": "test boot"},
    ),
}


@pytest.mark.parametrize(("order", "parts", "expected"), CASES.values(), ids=CASES)
def test_a_failure_is_told_in_parts(
    emulator: Emulator,
    make_spec: SpecMaker,
    monkeypatch: pytest.MonkeyPatch,
    order: Order,
    parts: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    monkeypatch.setattr("cos_customizer.gcp.guest_console._STATUS_INTERVAL", 0.2)
    order(emulator)
    error, result = failing(make_spec(**parts), Exception)
    assert result.failure is not None
    assert result.failure.model_dump(exclude={"message", "hint"}, exclude_defaults=True) == expected
    assert (result.failure.message, result.failure.hint) == (error.message, error.hint)
    assert result.error == error.message
    assert leftovers(emulator) == []


def in_second(event: Event) -> bool:
    return isinstance(event, StepChange) and event.number == 2


@pytest.mark.parametrize(
    ("ending", "error", "cause"),
    [
        (lambda: time_is_up(in_second), Exception, "timeout"),
        (lambda: signalled(signal.SIGINT, in_second), KeyboardInterrupt, "interrupted"),
    ],
    ids=["timeout", "interrupted"],
)
def test_what_ends_a_build_from_outside_names_the_step_that_ran(
    emulator: Emulator,
    make_spec: SpecMaker,
    ending: Ending,
    error: type[BaseException],
    cause: str,
) -> None:
    emulator.scripts.add(script(*FIRST, SECOND))
    with ending():
        _, result = failing(make_spec(), error)
    assert result.failure is not None
    assert (result.failure.cause, result.failure.phase, result.failure.step) == (cause, "steps", 2)
    assert result.failure.step_label == LABELS[1]
    assert result.failure.exit_code is None


def test_a_success_has_no_failure(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    result = build_image(make_spec())
    assert (result.failure, result.error) == (None, "")
