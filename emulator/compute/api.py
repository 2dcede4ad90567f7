"""The Compute Engine v1 REST API over HTTP (https://cloud.google.com/compute/docs/reference/rest/v1).

A new method is a route in `routes/` and an operation of the kind of resource that it is about. What is read of all
kinds of resources in the same way is here.
"""

from functools import partial

from flask import Response, abort, request

from cos_customizer.emulator.compute import listing
from cos_customizer.emulator.compute.routes import (
    disks,
    images,
    instance_changes,
    instances,
    policies,
    snapshots,
    templates,
)
from cos_customizer.emulator.compute.routes.blueprint import V1, change, checked_body, compute_api, engine, partly
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.web import answer

KINDS = (images, disks, snapshots, instances, instance_changes, templates, policies)
"""The modules with the routes of single kinds of resources."""
GENERIC = ("_aggregated", "_get_or_list")
"""The routes that all kinds of resources are read by: whether there is a kind, its list tells."""
__all__ = ["GENERIC", "KINDS", "compute_api"]


@compute_api.get(f"{V1}/<project>")
@partly("quotas besides those of GPUs")
def _get_project(project: str) -> Response:
    return answer(engine().get(f"projects/{project}"))


@compute_api.post(f"{V1}/<project>/setCommonInstanceMetadata")
def _set_project_metadata(project: str) -> Response:
    body = checked_body("Metadata")

    def begin() -> Resource:
        show = partial(engine().instances.show_project_metadata, project)
        return engine().project_metadata.set(project, body, show)

    return change(project, "projects.setCommonInstanceMetadata", begin)


@compute_api.get(f"{V1}/<project>/aggregated/<kind>")
def _aggregated(project: str, kind: str) -> Response:
    return answer(listing.aggregated(engine(), project, kind, request.args))


@compute_api.post(f"{V1}/<project>/<path:where>/operations/<name>/wait")
def _wait(project: str, where: str, name: str) -> Response:
    return answer(engine().operations.wait(f"projects/{project}/{where}/operations/{name}"))


@compute_api.get(f"{V1}/<project>/<path:rest>")
def _get_or_list(project: str, rest: str) -> Response:
    path, parts = f"projects/{project}/{rest}", rest.split("/")
    # global/KIND[/NAME], zones[/ZONE[/KIND[/NAME]]] and the same for regions
    if parts[0] == "global" and len(parts) in (2, 3):
        single = len(parts) == 3
    elif parts[0] in ("zones", "regions") and len(parts) <= 4:
        single = len(parts) % 2 == 0
    else:  # a method of a resource, which the local Compute Engine does not have
        abort(404)
    return answer(engine().get(path) if single else listing.page(engine(), path, request.args))
