"""What a build would send, without sending it: `-dry-run`."""

import time
from dataclasses import dataclass
from typing import Any

from cos_customizer.customizer.families.provenance import Provenance, fingerprint
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.spec import gpu_drivers
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.gcp import request_bodies
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.deprecation import images_to_deprecate
from cos_customizer.gcp.gpu_drivers import published_drivers
from cos_customizer.gcp.gpu_zones import zones_with_gpu
from cos_customizer.gcp.images import ResolvedImage, resolve_source

_UNKNOWN_DIGEST = "0" * 64


@dataclass(frozen=True)
class PlannedRequest:
    """A call that changes something.

    Attributes:
        method: of HTTP.
        path: `compute/v1/projects/…`.
        body: in the API's JSON form.
    """

    method: str
    path: str
    body: dict[str, Any]


def plan_build(clients: Clients, spec: BuildSpec) -> list[PlannedRequest]:
    """The calls that a build of this specification would make, in order; reads are made, nothing is changed.

    The build's id, which is part of names and labels, is that of a build which never runs. The steps' environment is
    masked.

    Args:
        clients: Google's clients.
        spec: the build's specification.

    Raises:
        UsageError: the build could not work: too many labels, too large an environment, no such GPU or driver, log
            entries that would go elsewhere.
        CustomizerError: the source image cannot be found.
    """
    if spec.cloud_logging:
        clients.endpoints.check_logging()
    build, now = BuildNames("0000000000"), time.time()
    source = resolve_source(clients, spec.source)
    zone, project, output = _first_zone(clients, spec, source), spec.builder.project, spec.output
    name = output.name_for(source.name)
    digest = spec.context.sha256 or _UNKNOWN_DIGEST
    request_bodies.user_data(spec, build, digest)  # whether it fits, with the values that are not shown
    user_data = request_bodies.user_data(spec.masked(), build, digest)
    vm = request_bodies.builder_vm(spec, build, zone, source.path, source.architecture, user_data, now)
    provenance = Provenance(build.id, source.id, fingerprint(spec, source.id, digest))
    image = request_bodies.output_image(spec, provenance, zone, source.path, name, source.labels, now)
    instances = f"compute/v1/projects/{project}/zones/{zone}/instances"
    images = f"compute/v1/projects/{output.project}/global/images"
    planned = [
        PlannedRequest("POST", instances, vm),
        PlannedRequest("POST", f"{images}?forceCreate=true", image),
    ]
    deletion = PlannedRequest("DELETE", f"{instances}/{build.builder_vm}", {})
    if spec.verify.asked_for:
        plan = request_bodies.test_user_data(spec.masked(), build, digest)
        new = f"projects/{output.project}/global/images/{name}"
        test_vm = request_bodies.test_vm(spec, build, zone, new, source.architecture, plan, now)
        planned += [deletion, PlannedRequest("POST", instances, test_vm)]
        if output.family:
            planned.append(PlannedRequest("PATCH", f"{images}/{name}", {"family": output.family}))
        labels = {"labels": request_bodies.image_labels(output, source.labels), "labelFingerprint": "…"}
        planned.append(PlannedRequest("POST", f"{images}/{name}/setLabels", labels))
        deletion = PlannedRequest("DELETE", f"{instances}/{build.test_vm}", {})
    if output.deprecate_old_images and output.family:
        new = f"projects/{output.project}/global/images/{name}"
        body = request_bodies.deprecation(new, output.old_image_ttl, now)
        old = images_to_deprecate(clients, output.project, output.family, name)
        planned += [PlannedRequest("POST", f"{images}/{image}/deprecate", body) for image in old]
    return [*planned, deletion]


def _first_zone(clients: Clients, spec: BuildSpec, source: ResolvedImage) -> str:
    """The zone that the build would try first, driver and GPU being checked as the build would check them."""
    driver, zones = spec.gpu_driver, spec.builder.zones
    if driver is not None:
        gpu_drivers.check_architecture(source.architecture)
        if gpu_drivers.is_looked_up(driver.version):
            gpu_drivers.check_published(driver.version, driver.md5sum, published_drivers(clients.endpoints))
    if spec.gpu_type is not None:
        zones = zones_with_gpu(clients, spec.builder.project, spec.gpu_type, zones)
    return zones[0]
