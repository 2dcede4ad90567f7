"""Compute Engine without its HTTP API: all kinds of resources on one store and one backend."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute import catalogue, zones
from cos_customizer.emulator.compute.disks import Disks
from cos_customizer.emulator.compute.images import Images
from cos_customizer.emulator.compute.instances import Instances
from cos_customizer.emulator.compute.operations import Operations
from cos_customizer.emulator.compute.policies import Policies
from cos_customizer.emulator.compute.project_metadata import ProjectMetadata
from cos_customizer.emulator.compute.quotas import Quotas
from cos_customizer.emulator.compute.rate_quotas import RateQuotas
from cos_customizer.emulator.compute.recovery import recover
from cos_customizer.emulator.compute.references import path_of_link
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.snapshots import Snapshots
from cos_customizer.emulator.compute.statuses import InstanceStatus
from cos_customizer.emulator.compute.store import Resource, Store
from cos_customizer.emulator.compute.templates import Templates
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines.backend import Backend

_BACKEND = "emulator/backend"
_STORED = ("images", "snapshots", "disks", "instanceTemplates")
"""Kinds of resources that are in the store as the API shows them."""
_CLOSE_SECONDS = 10.0


class ComputeEngine:
    """Images, snapshots, disks, instances and operations of all projects.

    Args:
        directory: where the state is kept; it goes on from what an earlier emulator has left there.
        clock: the emulator's.
        faults: that are ordered.
        backend: runs the machines.
        given_attributes: returns the metadata that every guest sees besides what the user has set.
        host_ports: returns the ports of this machine's loopback that every guest may reach.
        storage: returns `HOST:PORT` of Cloud Storage, where images may come from.

    Attributes:
        clock: the emulator's.
        backend: runs the machines.
        shared: the parts that all kinds of resources share.

    Raises:
        EmulatorError: the directory is in use, or holds machines of another kind.
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        faults: Faults,
        backend: Backend,
        given_attributes: Callable[[], dict[str, str]],
        host_ports: Callable[[], tuple[int, ...]],
        storage: Callable[[], str],
    ) -> None:
        self.clock = clock
        self.backend = backend
        store = Store(directory)
        before = store.find(_BACKEND)
        if before and before["name"] != backend.name:
            store.close()
            raise EmulatorError(
                f"{directory} holds machines of kind {before['name']}, not {backend.name}",
                "choose another state directory, or the same kind of machines",
            )
        store.put(_BACKEND, {"name": backend.name})
        store.give(catalogue.images())
        self.shared = shared = SharedParts(store, Operations(clock, faults), clock, faults, backend, storage)
        try:
            recover(shared)
        except BaseException:
            store.close()
            raise
        self.disks = Disks(shared)
        self.images = Images(shared)
        self.snapshots = Snapshots(shared)
        self.templates = Templates(shared)
        self.quotas = Quotas(store, backend.most_machines)
        self.rates = RateQuotas(store, clock)
        self.policies = Policies(shared)
        self.project_metadata = ProjectMetadata(shared)
        self.instances = Instances(
            shared, self.disks, self.quotas, given_attributes, self.project_metadata.attributes, host_ports
        )

    @property
    def operations(self) -> Operations:
        """The operations of all projects."""
        return self.shared.operations

    @property
    def change_lock(self) -> threading.RLock:
        """Held while a request for a change is checked and begun, so that one sees what the one before has done."""
        return self.shared.store.lock

    def get(self, path: str) -> Resource:
        """Return any resource by its path, for example `projects/p/zones/z/instances/i`.

        Raises:
            ApiError: 404.
        """
        kind = path.split("/")[-2]
        if path.count("/") == 1:
            project = path.removeprefix("projects/")
            found = zones.project_resource(project)
            metadata = self.project_metadata.of(project)
            return {**found, "commonInstanceMetadata": metadata, "quotas": self.quotas.of_project(project)}
        if kind == "operations":
            return self.operations.get(path)
        if kind == "instances":
            return self.instances.get(path)
        if kind in _STORED:
            return self.shared.store.get(path)
        return self._with_quotas(zones.fixed(path))

    def named(self, path: str) -> str:
        """Return the path by name of a resource that a request names by its numeric id; any other path as it is.

        Args:
            path: for example `projects/p/global/images/1234567890`.
        """
        collection, _, last = path.rpartition("/")
        if not last.isdecimal() or collection.rpartition("/")[2] not in (*_STORED, "instances"):
            return path
        return next((found for found, resource in self.shared.store.under(collection) if resource["id"] == last), path)

    def under(self, collection: str) -> list[tuple[str, Resource]]:
        """Return the resources of a collection, for example `projects/p/global/images`; a zone `-` means all zones.

        Raises:
            ApiError: 404, the collection does not exist.
        """
        parts = collection.split("/")
        if len(parts) == 5 and parts[2] == "zones" and parts[3] != "-":
            zones.check_zone(parts[1], parts[3])
        if len(parts) == 5 and parts[2] == "regions" and parts[3] != "-":
            zones.fixed("/".join(parts[:4]))
        if parts[-1] == "operations":
            return self.operations.under(collection)
        if parts[-1] == "instances":
            return self.instances.under(collection)
        if parts[-1] in _STORED:
            return self.shared.store.under(collection)
        if len(parts) == 5 and parts[3] == "-":
            names = zones.zone_names() if parts[2] == "zones" else list(zones.REGIONS)
            every = [zones.listing(collection.replace("/-/", f"/{name}/")) for name in names]
            resources = [resource for listing in every for resource in listing]
        else:
            resources = [self._with_quotas(resource) for resource in zones.listing(collection)]
        return [(path_of_link(resource["selfLink"]), resource) for resource in resources]

    def _with_quotas(self, resource: Resource) -> Resource:
        if resource["kind"] != "compute#region":
            return resource
        project = path_of_link(resource["selfLink"]).split("/")[1]
        return {**resource, "quotas": self.quotas.of_region(project, resource["name"])}

    def status(self) -> dict[str, Any]:
        """Return how many resources there are, by kind, and which zones have run out of machines."""
        kinds = [path.split("/")[-2] for path, _ in self.shared.store.stored()]
        counts = {kind: kinds.count(kind) for kind in ("images", "snapshots", "disks", "instances")}
        return {**counts, "running": self.instances.running(), "stockedOut": self.instances.stocked_out()}

    def check_at_rest(self) -> None:
        """Refuse to be taken for unchanging while anything goes on.

        Raises:
            EmulatorError: an operation or a machine runs.
        """
        if under_way := self.operations.under_way():
            raise EmulatorError(f"{under_way[0]} is under way", "wait until operations are done")
        places = [path for path, _ in self.shared.store.stored() if path.split("/")[-2] == "instances"]
        running = [path for path in places if self.instances.get(path)["status"] != InstanceStatus.TERMINATED]
        if running:
            count = "a VM runs" if len(running) == 1 else f"{len(running)} VMs run"
            raise EmulatorError(f"{count}: {', '.join(running[:3])}", "stop or delete it first")

    def end_waiting(self) -> None:
        """Answer all that wait for an operation, done or not."""
        self.operations.close(0)

    def close(self) -> None:
        """Finish running operations, stop all machines, and release the directory."""
        self.end_waiting()
        self.instances.close()
        self.operations.close(_CLOSE_SECONDS)
        self.backend.close()
        self.shared.store.close()
