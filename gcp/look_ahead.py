"""Mistakes that a read or two each finds, of files and of the cloud, before anything is begun."""

from cos_customizer.customizer.references import ImageRef
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.gcp import request_bodies
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.context import check_directory
from cos_customizer.gcp.images import find_image, resolve_source
from cos_customizer.gcp.machine_zones import zones_with_machine_type
from cos_customizer.gcp.scratch import check_bucket


def look_ahead(clients: Clients, spec: BuildSpec) -> None:
    """Find out whether scripts, disk, machine type, zones and bucket can be what the specification says.

    The build itself looks at all of it again: this is for whoever would rather know before it has begun.

    Args:
        clients: Google's clients.
        spec: Of the build.

    Raises:
        UsageError: Something cannot be.
        CustomizerError: The API does not say; the build will tell.
    """
    source = resolve_source(clients, spec.source)
    if spec.output.on_existing == "skip":
        output = ImageRef(spec.output.project, spec.output.name_for(source.name))
        if find_image(clients, output) is not None:  # nothing will be built, most likely, and that is a success
            return
    check_directory(spec.context, [*spec.steps, *spec.verify.scripts], spec.output.uefi_keys)
    request_bodies.check_source(spec, source)
    check_bucket(clients, spec.scratch.bucket)
    machine_type = request_bodies.machine_type_of(spec, source.architecture)
    zones_with_machine_type(clients, spec.builder.project, machine_type, spec.builder.zones)
