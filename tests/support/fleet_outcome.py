"""What has come of a fleet: whether its reports are true, whether every image is there once, what it has cost."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from uuid import UUID

from google.cloud import compute_v1
from prefect.client.schemas.objects import FlowRun
from support.compute_clients import PROJECT
from support.fleet_place import UPKEEP, FleetPlace
from support.fleet_recipes import Fleet
from support.storage_clients import anonymous_bucket

from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.gcp import sweep
from cos_customizer.gcp.clients import connect

_DEAD_FOR = 3 * 3600.0
"""Seconds on the emulator's clock after which VMs of killed builds have ended by themselves."""
_LATER = 40 * 24 * 3600.0
"""Seconds after which a sweep may delete whatever a build has left, serial logs too."""
_ALIKE = re.compile(r"(\d+) recipes")


def images() -> dict[str, compute_v1.Image]:
    """All images of the project, by name."""
    return {image.name: image for image in connect().images.list(project=PROJECT)}


class Night:
    """A run of `rebuild-images` that begins now.

    Args:
        place: where.
        fleet: the recipes.
    """

    def __init__(self, place: FleetPlace, fleet: Fleet) -> None:
        self._place = place
        self.fleet = fleet
        self.before = set(images())
        self.run_id: UUID = place.start_rebuild()

    def state(self) -> FlowRun:
        """The run, as it is now."""
        return self._place.client.read_flow_run(self.run_id)

    def share_built(self) -> float:
        """How many of the changed recipes' images are there, of all."""
        return self._place.calls.images_made / self.fleet.changed

    def table(self) -> list[dict[str, str]]:
        """Its report."""
        return self._place.table(self.run_id)

    def summary(self) -> Iterator[str]:
        """What its report says, in short."""
        rows = self.table()
        yield f"  its report: {dict(_counted(rows))}"
        yield from (f"  {row['recipe']}: {row['why'][:200]}" for row in rows if row["outcome"] == "failed")


def problems_with(night: Night, run: FlowRun) -> Iterator[str]:
    """What is not true of a run's report."""
    rows, there = night.table(), images()
    outcomes = _counted(rows)
    if outcomes.total() != night.fleet.recipes:
        yield f"{run.name}: its report is of {outcomes.total()} recipes, not of {night.fleet.recipes}: {dict(outcomes)}"
    failed = run.state is None or not run.state.is_completed()
    if bool(outcomes["failed"]) != failed:
        yield f"{run.name}: it {'failed' if failed else 'did not fail'}, and its report says {dict(outcomes)}"
    for row in rows:
        is_there, is_new = row["image"] in there, row["image"] not in night.before
        if row["outcome"] == "built" and not (is_there and is_new):
            yield f"{row['recipe']}: built, says the report, and {row['image']} is not there, or is an old one"
        if row["outcome"] == "up-to-date" and not is_there and not _ALIKE.fullmatch(row["recipe"]):
            yield f"{row['recipe']}: up to date, says the report, and {row['image']} is not there"


def _counted(rows: list[dict[str, str]]) -> Counter[str]:
    """How many recipes have come to what; one row may stand for many that are up to date."""
    outcomes: Counter[str] = Counter()
    for row in rows:
        alike = _ALIKE.fullmatch(row["recipe"])
        outcomes[row["outcome"]] += int(alike[1]) if alike else 1
    return outcomes


def problems_of(place: FleetPlace, fleet: Fleet) -> list[str]:
    """What is not as it should be once all is built, and the time of what was killed has passed."""
    place.calls.ask("clock", {"advance": _DEAD_FOR})
    now, clients = time.time() + _LATER, connect()
    sweep.apply(clients, PROJECT, sweep.plan(clients, sweep.SweepScope(PROJECT), now), now)
    return list(chain(_wrong_images(fleet), _leftovers(), _late_upkeep(place)))


def _wrong_images(fleet: Fleet) -> Iterator[str]:
    """Each changed recipe has one image, which its family gives; each other one has that of the night before."""
    wanted = fleet.fingerprints(connect())
    found: dict[str, list[compute_v1.Image]] = {}
    for image in images().values():
        found.setdefault(image.family, []).append(image)
        if image.status != "READY":
            yield f"{image.name} is {image.status}"
    for number, family in enumerate(fleet.families):
        made = [image for image in found.get(family, []) if _recipe(image) == wanted[family].recipe]
        active = [image.name for image in found.get(family, []) if not image.deprecated.state]
        if len(made) != 1 or active != [made[0].name]:
            yield f"{family}: made of its recipe are {[image.name for image in made]}, not deprecated are {active}"
        expected = {f"{family}-20260101", *active} if fleet.is_changed(number) else {*active}
        if (names := {image.name for image in found.get(family, [])}) != expected:
            yield f"{family}: there are {sorted(names)}, and should be {sorted(expected)}"


def _recipe(image: compute_v1.Image) -> str:
    provenance = Provenance.parse(image.description)
    return provenance.recipe if provenance else ""


def _leftovers() -> Iterator[str]:
    clients = connect()
    for zone, vms in clients.instances.aggregated_list(project=PROJECT):
        yield from (f"left: {zone}, VM {vm.name}" for vm in vms.instances)
    for zone, disks in clients.disks.aggregated_list(project=PROJECT):
        yield from (f"left: {zone}, disk {disk.name}" for disk in disks.disks)
    yield from (f"left: object {blob.name}" for blob in anonymous_bucket().list_blobs())


def _late_upkeep(place: FleetPlace) -> Iterator[str]:
    for name in UPKEEP:
        upkeep = place.upkeep(name)
        yield from (f"{name}: {run.name} is {run.state_name}" for run in upkeep.runs if run.state_name != "Completed")
        if upkeep.longest_pause > place.patience:
            yield f"{name} did not run for {upkeep.longest_pause:.0f} s"
