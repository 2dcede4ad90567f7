"""The matrix of faults: what is done to a build, and what has to come of it.

A case is a build on scripted machines with one thing that goes wrong, and often the same build again: exit code,
`-output-file`, Prefect's state and the world have to agree, and the second build completes what the first did not.
"""

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from support.fault_place import RECOVERY, Build, FaultPlace

COLUMNS = ("leaks", "wrong verdicts", "wrong exit codes", "tracebacks")
_OUTCOMES = {0: ("built", "exists"), 1: ("failed", "timed-out"), 130: ("interrupted",)}
_OUTCOMES |= dict.fromkeys((143, 129), _OUTCOMES[130])
_ID = "[0-9a-f]{10}"
_SHORT = "15s"
"""Time limit of a build that something holds up for ever: several times what it takes otherwise."""
_OVER = 30.0
"""Seconds after which a build of that limit has to be over, on a machine that is busy with others."""


@dataclass(frozen=True)
class Case:
    """One build, or two.

    Attributes:
        name: Of the case; it says what goes wrong.
        codes: Exit codes that are right.
        faults: Ordered from the emulator before the build.
        hold: The request that changes something, by its number, and whether it is held before it is carried out or
            after; `signals` are sent and `server_goes` then.
        signals: Sent one after the other.
        server_goes: The Prefect server is away from then on.
        timeout: Of the build.
        within: Seconds within which the first build is over; None if it is not bounded.
        again: Whether the same build follows, and completes it.
    """

    name: str
    codes: tuple[int, ...]
    faults: tuple[dict[str, Any], ...] = ()
    hold: tuple[int, str] | None = None
    signals: tuple[signal.Signals, ...] = ()
    server_goes: bool = False
    timeout: str = "1h"
    within: float | None = None
    again: bool = True

    @property
    def is_killed(self) -> bool:
        """Whether nothing can be undone by the build itself."""
        return signal.SIGKILL in self.signals


@dataclass
class Verdict:
    """What came of a case: problems by column, none if all is right."""

    case: Case
    seconds: float = 0.0
    problems: list[tuple[str, str]] = field(default_factory=list)
    said: str = ""

    def check(self, holds: bool, column: str, problem: str) -> None:
        """Note a problem unless something holds."""
        if not holds:
            self.problems.append((column, problem))


@dataclass(frozen=True)
class Undisturbed:
    """What a build does that nothing disturbs.

    Attributes:
        changes: Its requests that change something, as `METHOD path`, in their order.
        requests: Method and path, as a regular expression, of all its requests, each once.
        images: What is there afterwards; see `FaultPlace.images`.
    """

    changes: tuple[str, ...]
    requests: tuple[tuple[str, str], ...]
    images: tuple[tuple[str, ...], ...]

    @classmethod
    def seen(cls, place: FaultPlace) -> "Undisturbed":
        """Let a build run."""
        with place.world():
            build = place.start()
            build.end()
            assert (build.code, place.left()) == (0, []), build.said
            requests: dict[tuple[str, str], None] = {}
            for call in place.emulator.calls.list():
                path = re.sub(_ID, _ID, re.sub(r"operation-[^/]+", "operation-[^/]+", call.path.partition("?")[0]))
                requests[call.method, f"^{path}($|\\?)"] = None
            return cls(tuple(place.changes()), tuple(requests), tuple(place.images()))

    @property
    def decided(self) -> int:
        """The number of the change with which the build has done what it is for; what follows is clean-up."""
        return max(number for number, change in enumerate(self.changes) if change.endswith("/deprecate"))


def matrix(undisturbed: Undisturbed) -> list[Case]:
    """All cases, in an order that does not change with the machine."""
    return [
        *_interruptions(undisturbed),
        *_refusals(undisturbed),
        *_operations(),
        *_machines(),
        *_servers(undisturbed),
    ]


_INTERRUPTIONS: dict[str, tuple[tuple[signal.Signals, ...], int]] = {
    "kill": ((signal.SIGKILL,), -9),
    "TERM": ((signal.SIGTERM,), 143),
    "TERM, TERM": ((signal.SIGTERM, signal.SIGTERM), 143),
    "INT, TERM": ((signal.SIGINT, signal.SIGTERM), 130),
    "HUP": ((signal.SIGHUP,), 129),
    "timeout": ((signal.SIGALRM,), 1),
}


def _interruptions(undisturbed: Undisturbed) -> Iterator[Case]:
    for number, change in enumerate(undisturbed.changes):
        for when in ("before", "after"):
            for kind, (signals, code) in _INTERRUPTIONS.items():
                if kind == "kill" and when == "after" and number < len(undisturbed.changes) - 1:
                    continue  # the same as before the next one
                codes: tuple[int, ...] = (code,)
                if kind == "INT, TERM":  # of two at once, Linux may give either to the thread that looks first
                    codes = (130, 143)
                if number > undisturbed.decided and kind != "kill":  # too late, but for the clean-up's own time
                    codes = (0, 1) if kind == "timeout" else (0,)
                yield Case(
                    f"{kind} {when} {_short(change)} ({number})",
                    codes,
                    hold=(number, when),
                    signals=signals,
                    again=kind in ("kill", "TERM", "timeout"),
                )


_REFUSALS: dict[str, dict[str, Any]] = {
    "503": {"kind": "http", "status": 503},
    "429": {"kind": "http", "status": 429, "reason": "rateLimitExceeded"},
    "403 rateLimitExceeded": {"kind": "http", "status": 403, "reason": "rateLimitExceeded"},
    "cut before": {"kind": "drop", "when": "before"},
    "cut after": {"kind": "drop", "when": "after"},
}


def _refusals(undisturbed: Undisturbed) -> Iterator[Case]:
    for method, path in undisturbed.requests:
        what = _short(f"{method} {path[1:-6]}")
        for kind, fault in _REFUSALS.items():
            yield Case(f"{kind}: {what}", (0,), ({**fault, "method": method, "path": path},), again=False)
        denied = {"kind": "http", "status": 403, "reason": "forbidden", "count": 0}
        yield Case(f"403 for ever: {what}", (0, 1), ({**denied, "method": method, "path": path},), within=120)
        if method != "GET" and not path.endswith("/wait($|\\?)"):
            away = {"kind": "http", "status": 503, "count": 0, "method": method, "path": path}
            yield Case(f"503 for ever: {what}", (0, 1), (away,), timeout=_SHORT, within=_OVER)
    for number, change in enumerate(undisturbed.changes):
        if change.startswith("POST") and number % 2 == 0:
            held = {"kind": "http", "status": 503, "count": 0, "path": "^(?!/emulator)", "skip": number * 4}
            yield Case(f"nothing answers after {number * 4} requests", (0, 1), (held,), timeout=_SHORT, within=_OVER)


_OPERATIONS = {
    "resize": ("/disks/cos-customizer-[0-9a-f]{10}$",),
    "insert": ("/instances/cos-customizer-[0-9a-f]{10}$", "/instances/.*-test$", "/images/my-image$"),
    "delete": ("/instances/cos-customizer-[0-9a-f]{10}$", "/instances/.*-test$"),
    "patch": ("/images/my-image$",),
    "setLabels": ("/images/my-image$",),
    "deprecate": ("/images/older$",),
}
_ERRORS = (
    "INTERNAL_ERROR",
    "QUOTA_EXCEEDED",
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "RESOURCE_NOT_READY",
    "OPERATION_CANCELED_BY_USER",
)


def _operations() -> Iterator[Case]:
    for method, paths in _OPERATIONS.items():
        for path in paths:
            fault = {"kind": "operation", "method": method, "path": path}
            what = f"{method} of {path.strip('/$')}"
            codes = (0,) if method == "delete" else (0, 1)
            for error in _ERRORS:
                yield Case(f"{error}: {what}", codes, ({**fault, "code": error},), within=180)
            if method == "insert":
                yield Case(
                    f"half made: {what}", (1,), ({**fault, "code": "INTERNAL_ERROR", "leave": True},), within=180
                )
            never = {**fault, "code": "", "seconds": RECOVERY / 2}
            yield Case(f"never ends: {what}", (1,), (never,), timeout=_SHORT, within=_OVER)


def _machines() -> Iterator[Case]:
    for name in ("cos-customizer-[0-9a-f]{10}", ".*-test"):
        yield Case(f"silent: {name}", (1,), ({"kind": "silent", "name": name},), timeout=_SHORT, within=_OVER)
        yield Case(f"crashes: {name}", (1,), ({"kind": "crash", "name": name},), timeout=_SHORT, within=_OVER)
        stays = {"kind": "disk-stays", "name": name}
        yield Case(f"its disk stays: {name}", (0,), (stays,))
        loss = {"kind": "serial-loss", "path": f"/instances/{name}", "bytes": 40}
        yield Case(f"loses output: {name}", (0, 1), (loss,), timeout=_SHORT, within=_OVER)


def _servers(undisturbed: Undisturbed) -> Iterator[Case]:
    for number, change in enumerate(undisturbed.changes):
        if number % 3 == 0:
            name = f"Prefect's server away at {_short(change)} ({number})"
            yield Case(name, (0,), hold=(number, "after"), server_goes=True, within=120)
            code = 0 if number > undisturbed.decided else 143
            signals = (signal.SIGTERM,)
            yield Case(f"{name}, TERM", (code,), hold=(number, "after"), signals=signals, server_goes=True, within=120)
    yield Case("nothing", (0,))


def _short(change: str) -> str:
    method, _, path = change.partition(" ")
    path = path.removeprefix("/compute/v1/projects/my-project/").removeprefix("/storage/v1/")
    return f"{method} {re.sub(r'[0-9a-f]{10}', '…', path).replace(_ID, '…')}"


def attempt(place: FaultPlace, case: Case, undisturbed: Undisturbed) -> Verdict:
    """Let a case happen, and judge it."""
    verdict = Verdict(case)
    with place.world():
        for fault in case.faults:
            place.emulator.faults.add(**fault)
        if case.hold:
            place.hold(*case.hold)
        build = place.start(case.timeout)
        if case.hold:
            verdict.check(place.await_hold(build), "wrong verdicts", "the request was never made")
            if case.server_goes and place.gateway is not None:
                place.gateway.close()
            for number in case.signals:
                build.process.send(number)
            if case.is_killed:
                build.end()
            place.emulator.faults.clear()
        if build.code is None:
            build.end()
        place.emulator.faults.clear()  # the judge looks at the same cloud
        verdict.seconds, verdict.said = build.seconds, build.said
        _judge(place, build, verdict)
        if build.code == 0:
            verdict.check(place.images() == list(undisturbed.images), "wrong verdicts", f"images: {place.images()}")
        if case.again:
            place.recover()
            again = place.start()
            again.end()
            verdict.seconds += again.seconds
            verdict.said += f"\n--- again ---\n{again.said}"
            verdict.check(again.code == 0, "wrong exit codes", f"again: exit code {again.code}")
            verdict.check(place.images() == list(undisturbed.images), "wrong verdicts", f"again: {place.images()}")
            place.recover()
            place.sweep()
            verdict.check(not place.left(), "leaks", f"after a sweep: {', '.join(place.left())}")
    return verdict


def _judge(place: FaultPlace, build: Build, verdict: Verdict) -> None:
    case, code = verdict.case, build.code
    verdict.check(code in case.codes, "wrong exit codes", f"exit code {code}, not {case.codes}")
    late = case.within is not None and build.seconds > case.within
    verdict.check(not late, "wrong verdicts", f"over after {build.seconds:.0f} s")
    spoilt = "Traceback" in build.said or "unexpected" in build.said
    verdict.check(not spoilt, "tracebacks", "a traceback, or an error that nobody expected")
    if case.is_killed or code is None:
        return
    verdict.check(build.outcome in _OUTCOMES.get(code, ()), "wrong verdicts", f"{code} and outcome {build.outcome!r}")
    if not case.server_goes:
        state = build.flow_run
        right = state in (("COMPLETED",) if code == 0 else ("FAILED", "CRASHED", "CANCELLED"))
        verdict.check(right or not state, "wrong verdicts", f"{code} and flow run {state}")
    left = place.left()
    untold = [name for name in left if name.rpartition("/")[2] not in build.said]
    verdict.check(not untold, "leaks", f"left and not told: {', '.join(untold)}")
    verdict.check(not left or code != 0, "wrong verdicts", f"exit code 0, and left: {', '.join(left)}")
