"""`make fleet`: many recipes, some of them changed, on a server for a fleet, while things go wrong; and what it cost.

RECIPES=1000 CHANGED=300 WORKERS=2 WORKER_TYPE=cos-customizer AT_ONCE=20 UPKEEP=300 (seconds between two runs of
`sweep`, and of `expire-images`); CALM=1 lets nothing go wrong. Exit code 1 if anything came out wrong.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from prefect.client.schemas.objects import FlowRun
from support.fleet_figures import Watch
from support.fleet_outcome import Night, problems_of, problems_with
from support.fleet_place import FleetPlace
from support.fleet_recipes import Fleet
from support.fleet_report import report
from support.fleet_server import stop_on_signals

from cos_customizer.gcp.clients import connect

MOST_NIGHTS = 5
"""Runs of `rebuild-images` at most: the next one makes up for what was killed in the one before."""
_MOST_SECONDS = 2 * 3600.0
"""A run of `rebuild-images` takes: only so that none hangs."""
_STALL = 20.0
"""Seconds for which Google's API answers nothing."""


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _number(name: str, default: int) -> int:
    given = os.environ.get(name, "")
    if given and not (given.isdecimal() and int(given)):
        sys.exit(f"fleet: {name}={given} is no number above 0")
    return int(given or default)


class Troubles:
    """What goes wrong on the way, by the share of the changed recipes whose images are there.

    Args:
        place: where.
        calm: whether nothing does.
    """

    def __init__(self, place: FleetPlace, calm: bool) -> None:
        self._place = place
        self._to_come: list[tuple[float, str, Callable[[Night], object]]] = [
            (0.2, "a worker and its builds are killed, and another one starts", self._kill_worker),
            (0.4, "a replica of the API is killed", lambda _: place.server.kill("api-1")),
            (0.6, f"Google's API stalls for {_STALL:.0f} s", self._stall),
            (0.7, "the replica starts again", self._restart),
        ]
        if calm:
            self._to_come = []

    def happen(self, night: Night, share: float) -> None:
        """Let happen what is due."""
        while self._to_come and share >= self._to_come[0][0]:
            _, what, trouble = self._to_come.pop(0)
            _say(f"{share:.0%} built: {what}")
            trouble(night)

    def all_came(self) -> bool:
        """Whether nothing is left to come."""
        return not self._to_come

    def _kill_worker(self, night: Night) -> None:
        self._place.kill_worker(sparing=night.run_id)
        self._place.start_worker()

    def _stall(self, _: Night) -> None:
        with self._place.stalled_emulator():
            time.sleep(_STALL)

    def _restart(self, _: Night) -> None:
        self._place.server.start_replica("api-1")
        self._place.processes.add("api-1", self._place.server.processes["api-1"].pid)


def _spend(night: Night, troubles: Troubles) -> FlowRun:
    """Wait until a run of `rebuild-images` is over."""
    _say(f"rebuild-images: {night.run_id}")
    end = time.monotonic() + _MOST_SECONDS
    while True:
        run, share = night.state(), night.share_built()
        if run.state is not None and run.state.is_final():
            _say(f"{run.name[:60]}: {run.state.name}; {share:.0%} built")
            return run
        assert time.monotonic() < end, f"it is {run.state_name} after {_MOST_SECONDS / 60:.0f} min"
        troubles.happen(night, share)
        time.sleep(2)


def _build(place: FleetPlace, fleet: Fleet, troubles: Troubles) -> list[str]:
    """Rebuild until there is nothing to do; what came out wrong."""
    problems: list[str] = []
    for _ in range(MOST_NIGHTS):
        night = Night(place, fleet)
        run = _spend(night, troubles)
        print("\n".join(night.summary()), flush=True)
        problems += problems_with(night, run)
        if run.state is not None and run.state.is_completed():
            break
    else:
        problems.append(f"after {MOST_NIGHTS} runs of rebuild-images it still fails")
    if not troubles.all_came():
        problems.append("not all that was to go wrong has done so: too few builds")
    return problems


def main() -> int:
    """Build the fleet, and print what came of it."""
    stop_on_signals()
    recipes, workers = _number("RECIPES", 1000), _number("WORKERS", 2)
    pool_type, at_once = os.environ.get("WORKER_TYPE") or "cos-customizer", _number("AT_ONCE", 20)
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        directory = Path(name)
        directory.chmod(0o711)  # PostgreSQL's user passes through
        fleet = Fleet(directory / "checkout" / "recipes", recipes, min(_number("CHANGED", 300), recipes))
        with FleetPlace(directory, fleet, pool_type, at_once, _number("UPKEEP", 300)) as place:
            _say(f"the server answers at {place.server.api}")
            fleet.write()
            fleet.make_images(connect())
            fleet.change()
            _say(f"{fleet.recipes} images are there; {fleet.changed} recipes change")
            place.deploy()
            for _ in range(workers):
                place.start_worker()
            place.calls.forget()
            began = time.monotonic()
            with Watch(place.processes, place.calls):
                problems = _build(place, fleet, Troubles(place, bool(os.environ.get("CALM"))))
                minutes = (time.monotonic() - began) / 60
                _say("waiting for the next run of upkeep")
                place.await_upkeep()
            problems += problems_of(place, fleet)
            print(report(place, fleet, minutes))
    for problem in problems:
        print(f"WRONG: {problem}")
    print("all is as it should be" if not problems else f"{len(problems)} things are wrong")
    return int(bool(problems))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("fleet: stopped")
