"""The Compute Engine of the emulator without its HTTP face: all kinds of resources on one store and one backend."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute import catalogue, zones
from cos_customizer.emulator.compute.core import Core
from cos_customizer.emulator.compute.disks import Disks
from cos_customizer.emulator.compute.images import Images
from cos_customizer.emulator.compute.instances import Instances
from cos_customizer.emulator.compute.operations import Operations
from cos_customizer.emulator.compute.quotas import Quotas
from cos_customizer.emulator.compute.recovery import recover
from cos_customizer.emulator.compute.references import path_of
from cos_customizer.emulator.compute.resources import Resource, Store
from cos_customizer.emulator.compute.templates import Templates
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines.backend import Backend, EmulatorError

_BACKEND = "emulator/backend"
_STORED = ("images", "disks", "instanceTemplates")
CLOSE_SECONDS = 10.0


class Compute:
    """Images, disks, instances and operations of all projects.

    Args:
        directory: where the state is kept; whatever a former emulator left there is taken over.
        backend: runs the machines.
        faults: what is to go wrong.
        given_attributes: metadata that every guest sees besides what the user set.

    Raises:
        EmulatorError: the directory is in use, or holds machines of another kind.
    """

    def __init__(
        self, directory: Path, backend: Backend, faults: Faults, given_attributes: Callable[[], dict[str, str]]
    ) -> None:
        self.clock = Clock()
        self.faults = faults
        self.backend = backend
        self.store = Store(directory)
        kept = self.store.find(_BACKEND)
        if kept and kept["name"] != backend.name:
            self.store.close()
            raise EmulatorError(
                f"{directory} holds machines of kind {kept['name']}, not {backend.name}",
                "choose another state directory, or the same kind of machines",
            )
        self.store.put(_BACKEND, {"name": backend.name})
        self.store.give(catalogue.images())
        self.operations = Operations(self.clock, faults)
        core = Core(self.store, self.operations, self.clock, faults, backend)
        recover(core)
        self.core = core
        self.disks = Disks(core)
        self.images = Images(core)
        self.templates = Templates(core)
        self.quotas = Quotas(self.store)
        self.instances = Instances(core, self.disks, self.quotas, given_attributes)

    def get(self, path: str) -> Resource:
        """Any resource by its path, for example `projects/p/zones/z/instances/i`.

        Raises:
            ApiError: 404.
        """
        kind = path.split("/")[-2]
        if path.count("/") == 1:
            project = path.removeprefix("projects/")
            return {**zones.project_resource(project), "quotas": self.quotas.of_project(project)}
        if kind == "operations":
            return self.operations.get(path)
        if kind == "instances":
            return self.instances.get(path)
        if kind in _STORED:
            return self.store.get(path)
        return self._with_quotas(zones.fixed(path))

    def named(self, path: str) -> str:
        """The path by name of a resource that a request names by its numeric id, as the API lets it; else the same.

        Args:
            path: for example `projects/p/global/images/1234567890`.
        """
        collection, _, last = path.rpartition("/")
        if not last.isdecimal() or collection.rpartition("/")[2] not in (*_STORED, "instances"):
            return path
        return next((found for found, resource in self.store.under(collection) if resource["id"] == last), path)

    def under(self, collection: str) -> list[tuple[str, Resource]]:
        """The resources of a collection, for example `projects/p/global/images`; a zone `-` means all zones.

        Raises:
            ApiError: 404, there is no such collection.
        """
        parts = collection.split("/")
        if len(parts) == 5 and parts[2] == "zones" and parts[3] != "-":
            zones.check_zone(parts[1], parts[3])
        if parts[-1] == "operations":
            return self.operations.under(collection)
        if parts[-1] == "instances":
            return self.instances.under(collection)
        if parts[-1] in _STORED:
            return self.store.under(collection)
        if "/zones/-/" in collection:
            every = [zones.listing(collection.replace("/-/", f"/{zone}/")) for zone in zones.zone_names()]
            resources = [resource for listing in every for resource in listing]
        else:
            resources = [self._with_quotas(resource) for resource in zones.listing(collection)]
        return [(resource["selfLink"].split("/compute/v1/")[1], resource) for resource in resources]

    def _with_quotas(self, resource: Resource) -> Resource:
        if resource["kind"] != "compute#region":
            return resource
        project = path_of(resource["selfLink"], "", "selfLink").split("/")[1]
        return {**resource, "quotas": self.quotas.of_region(project, resource["name"])}

    def status(self) -> dict[str, Any]:
        """How many resources there are, by kind."""
        kinds = [path.split("/")[-2] for path, _ in self.store.stored()]
        counts = {kind: kinds.count(kind) for kind in ("images", "disks", "instances")}
        return {**counts, "running": self.instances.running(), "stockedOut": self.instances.stocked_out()}

    def end_waiting(self) -> None:
        """Answer those who wait for an operation, done or not."""
        self.operations.close(0)

    def close(self) -> None:
        """Stop all machines, finish what is under way, release the directory."""
        self.end_waiting()
        self.instances.close()
        self.operations.close(CLOSE_SECONDS)
        self.backend.close()
        self.store.close()
