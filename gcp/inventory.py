"""What projects have, for people: their images and their VMs, wherever these come from."""

from collections.abc import Iterable
from dataclasses import dataclass

from google.cloud import compute_v1

from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.names import STATE_LABEL
from cos_customizer.customizer.references import ImageRef, Link, VmRef
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients


@dataclass(frozen=True)
class ImageFacts:
    """An image.

    Attributes:
        ref: what names it.
        family: its family; empty if it is in none.
        state: `ready`, or why it is not to be used: `pending`, `failed`, `deprecated`, `obsolete`, `unreleased`, ….
        disk_gb: of a disk made from it, in GB.
        stored_bytes: that it takes in storage.
        created: RFC 3339.
        origin: what it was made of, and by which build of this program.
    """

    ref: ImageRef
    family: str
    state: str
    disk_gb: int
    stored_bytes: int
    created: str
    origin: str


@dataclass(frozen=True)
class VmFacts:
    """A VM.

    Attributes:
        ref: what names it.
        status: `RUNNING`, `TERMINATED`, ….
        machine_type: for example `n1-standard-1`.
        created: RFC 3339.
        about: its description.
    """

    ref: VmRef
    status: str
    machine_type: str
    created: str
    about: str


def images(clients: Clients, projects: Iterable[str]) -> list[ImageFacts]:
    """The images of some projects, those of each newest first.

    Args:
        clients: Google's clients.
        projects: ids.

    Raises:
        CustomizerError: the API does not say.
    """
    found: list[ImageFacts] = []
    for project in projects:
        request = compute_v1.ListImagesRequest(project=project, max_results=500)
        listed = calls.listed(clients.images.list, request, f"list the images of {project}")
        found += [_image(project, each) for each in sorted(listed, key=lambda each: each.creation_timestamp)[::-1]]
    return found


def _image(project: str, image: compute_v1.Image) -> ImageFacts:
    states = (image.labels.get(STATE_LABEL, ""), image.deprecated.state, image.status)
    state = next((state for state in states if state and state not in ("ACTIVE", "READY")), "READY")
    return ImageFacts(
        ref=ImageRef(project, image.name),
        family=image.family,
        state=state.lower(),
        disk_gb=int(image.disk_size_gb),
        stored_bytes=int(image.archive_size_bytes),
        created=image.creation_timestamp,
        origin=_origin(image),
    )


def _origin(image: compute_v1.Image) -> str:
    provenance = Provenance.parse(image.description)
    if provenance is not None:
        source = Link.parse(Provenance.source_in(image.description))
        of = f"{source.project}/{source.name}, " if source else ""
        return f"{of}build {provenance.build}"
    for address in (image.source_image, image.source_disk):
        if link := Link.parse(address):
            return f"{link.project}/{link.name}" if link.kind == "images" else f"disk {link.name}"
    return image.description.partition("\n")[0]


def vms(clients: Clients, projects: Iterable[str]) -> list[VmFacts]:
    """The VMs of some projects in all zones, by name.

    Args:
        clients: Google's clients.
        projects: ids.

    Raises:
        CustomizerError: the API does not say.
    """
    found: list[VmFacts] = []
    for project in projects:
        request = compute_v1.AggregatedListInstancesRequest(project=project, max_results=500)
        zones = calls.listed(clients.instances.aggregated_list, request, f"list the VMs of {project}")
        instances = [instance for _, listed in zones for instance in listed.instances]
        found += [_vm(project, each) for each in sorted(instances, key=lambda each: each.name)]
    return found


def _vm(project: str, vm: compute_v1.Instance) -> VmFacts:
    zone, machine_type = (address.rpartition("/")[2] for address in (vm.zone, vm.machine_type))
    return VmFacts(VmRef(project, zone, vm.name), vm.status, machine_type, vm.creation_timestamp, vm.description)
