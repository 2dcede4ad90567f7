"""Google's own clients pointed at an emulator, and plain HTTP for what they would not send."""

import http.client
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1
from support.waiting import PATIENCE, wait_for

from cos_customizer.emulator.server import Emulator

PROJECT, ZONE = "my-project", "us-west1-b"
COS = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"


@dataclass
class Compute:
    """Clients of one emulator, each made when it is first used."""

    emulator: Emulator

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "credentials": AnonymousCredentials(),  # type: ignore[no-untyped-call]
            "client_options": ClientOptions(api_endpoint=f"http://127.0.0.1:{self.emulator.port}"),
            "transport": "rest",
        }

    @cached_property
    def images(self) -> compute_v1.ImagesClient:
        return compute_v1.ImagesClient(**self._options)

    @cached_property
    def snapshots(self) -> compute_v1.SnapshotsClient:
        return compute_v1.SnapshotsClient(**self._options)

    @cached_property
    def disks(self) -> compute_v1.DisksClient:
        return compute_v1.DisksClient(**self._options)

    @cached_property
    def instances(self) -> compute_v1.InstancesClient:
        return compute_v1.InstancesClient(**self._options)

    @cached_property
    def zone_operations(self) -> compute_v1.ZoneOperationsClient:
        return compute_v1.ZoneOperationsClient(**self._options)

    @cached_property
    def global_operations(self) -> compute_v1.GlobalOperationsClient:
        return compute_v1.GlobalOperationsClient(**self._options)

    @cached_property
    def accelerator_types(self) -> compute_v1.AcceleratorTypesClient:
        return compute_v1.AcceleratorTypesClient(**self._options)

    @cached_property
    def machine_types(self) -> compute_v1.MachineTypesClient:
        return compute_v1.MachineTypesClient(**self._options)

    @cached_property
    def regions(self) -> compute_v1.RegionsClient:
        return compute_v1.RegionsClient(**self._options)

    @cached_property
    def projects(self) -> compute_v1.ProjectsClient:
        return compute_v1.ProjectsClient(**self._options)

    def wait(self, operation: Any) -> compute_v1.Operation:
        """The operation when it is done, whatever its end."""
        name = operation.name
        for _ in range(100):
            if operation.zone:
                done = self.zone_operations.wait(project=PROJECT, zone=operation.zone.split("/")[-1], operation=name)
            else:
                done = self.global_operations.wait(project=PROJECT, operation=name)
            if done.status == compute_v1.Operation.Status.DONE:
                return done
        raise AssertionError(f"{name} is not done: {done}")

    def ok(self, operation: Any) -> compute_v1.Operation:
        """The operation when it is done, without an error."""
        done = self.wait(operation)
        assert not done.error.errors, done.error
        return done

    def create(self, name: str = "vm", zone: str = ZONE, **fields: Any) -> compute_v1.Instance:
        """A running instance."""
        self.ok(self.insert(name, zone, **fields))
        return self.instances.get(project=PROJECT, zone=zone, instance=name)

    def insert(self, name: str = "vm", zone: str = ZONE, **fields: Any) -> Any:
        """Ask for an instance."""
        return self.instances.insert_unary(project=PROJECT, zone=zone, instance_resource=instance(name, zone, **fields))

    def stop(self, name: str = "vm") -> compute_v1.Operation:
        """Stop an instance."""
        return self.ok(self.instances.stop_unary(project=PROJECT, zone=ZONE, instance=name))

    def delete(self, name: str = "vm") -> compute_v1.Operation:
        """Delete an instance."""
        return self.ok(self.instances.delete_unary(project=PROJECT, zone=ZONE, instance=name))

    def image(self, name: str, **fields: Any) -> compute_v1.Image:
        """An image, copied from the catalogue unless told otherwise."""
        self.ok(self.insert_image(name, **fields))
        return self.images.get(project=PROJECT, image=name)

    def insert_image(self, name: str, **fields: Any) -> Any:
        """Ask for an image."""
        source = {} if "source_disk" in fields else {"source_image": COS}
        resource = compute_v1.Image(name=name, **{**source, **fields})
        return self.images.insert_unary(project=PROJECT, image_resource=resource)

    def disk(self, name: str, **fields: Any) -> compute_v1.Disk:
        """A disk, empty unless told otherwise."""
        resource = compute_v1.Disk(name=name, **{"size_gb": 10, **fields})
        self.ok(self.disks.insert_unary(project=PROJECT, zone=ZONE, disk_resource=resource))
        return self.disks.get(project=PROJECT, zone=ZONE, disk=name)

    def snapshot(self, name: str, disk: str, **fields: Any) -> compute_v1.Snapshot:
        """A snapshot of a disk."""
        resource = compute_v1.Snapshot(name=name, source_disk=disk_path(disk), **fields)
        self.ok(self.snapshots.insert_unary(project=PROJECT, snapshot_resource=resource))
        return self.snapshots.get(project=PROJECT, snapshot=name)

    def serial(self, name: str = "vm", port: int = 3, start: int = 0) -> compute_v1.SerialPortOutput:
        """Serial port output."""
        request = compute_v1.GetSerialPortOutputInstanceRequest(
            project=PROJECT, zone=ZONE, instance=name, port=port, start=start
        )
        return self.instances.get_serial_port_output(request)

    def done(self, path: str, content: object) -> None:
        """Make a request that begins an operation in our zone, and wait for its good end."""
        status, operation = call(self.emulator, "POST", path, content)
        assert status == 200, operation
        self.ok(self.zone_operations.get(project=PROJECT, zone=ZONE, operation=operation["name"]))

    def said(self, words: str, name: str = "vm") -> str:
        """The line with these words that a machine prints on its third serial port, once it is there."""

        def heard() -> str:
            return next((line for line in self.serial(name).contents.splitlines() if words in line), "")

        return wait_for(heard)

    def names(self, kind: str) -> list[str]:
        """The names of our project's `images` or `snapshots`, or `disks` or `instances` in all zones."""
        where = "global" if kind in ("images", "snapshots") else "zones/-"
        return [resource["name"] for resource in self.emulator.list(f"projects/{PROJECT}/{where}/{kind}")]


def disk_path(name: str, zone: str = ZONE) -> str:
    """The path of a disk."""
    return f"projects/{PROJECT}/zones/{zone}/disks/{name}"


def instance(name: str, zone: str = ZONE, **fields: Any) -> compute_v1.Instance:
    """The body of a request for an instance."""
    parameters = compute_v1.AttachedDiskInitializeParams(source_image=COS)
    defaults: dict[str, Any] = {
        "machine_type": f"zones/{zone}/machineTypes/n1-standard-1",
        "disks": [compute_v1.AttachedDisk(boot=True, auto_delete=True, initialize_params=parameters)],
        "network_interfaces": [compute_v1.NetworkInterface(network="global/networks/default")],
    }
    return compute_v1.Instance(name=name, **{**defaults, **fields})


def body(name: str = "vm", **fields: Any) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "name": name,
        "machineType": f"zones/{ZONE}/machineTypes/n1-standard-1",
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": COS}}],
        "networkInterfaces": [{"network": "global/networks/default"}],
        **fields,
    }


def call(emulator: Emulator, method: str, path: str, content: object = None) -> tuple[int, Any]:
    """A plain request; the answer's status and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=PATIENCE)
    try:
        text = content if isinstance(content, str) else json.dumps(content) if content is not None else None
        connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


INSTANCES = f"/compute/v1/projects/{PROJECT}/zones/{ZONE}/instances"
DISKS = f"/compute/v1/projects/{PROJECT}/zones/{ZONE}/disks"
SNAPSHOTS = f"/compute/v1/projects/{PROJECT}/global/snapshots"
IMAGES = f"/compute/v1/projects/{PROJECT}/global/images"
