"""The table of Compute Engine's methods: it has every route of the emulator, and its list is Google's library."""

import pytest
from api_methods import RESOURCES, api_methods, methods_of
from werkzeug.exceptions import HTTPException

from cos_customizer.emulator.compute.api import GENERIC, compute_api
from cos_customizer.emulator.server import Emulator
from cos_customizer.emulator.web import application


def test_every_route_is_a_method_of_the_table() -> None:
    app = application(compute_api)
    ours = {rule.endpoint for rule in app.url_map.iter_rules() if rule.endpoint.startswith(f"{compute_api.name}.")}
    reached = set()
    for method in (method for resource in RESOURCES for method in methods_of(resource)):
        try:
            reached.add(app.url_map.bind("").match(method.path, method.verb)[0])
        except HTTPException:
            continue
    assert ours == reached
    assert {f"{compute_api.name}.{name}" for name in GENERIC} < ours


@pytest.mark.parametrize(
    ("resource", "name", "verb", "uri"),
    [
        ("disks", "createSnapshot", "POST", "/compute/v1/projects/{project}/zones/{zone}/disks/{disk}/createSnapshot"),
        ("images", "getFromFamily", "GET", "/compute/v1/projects/{project}/global/images/family/{family}"),
        ("zoneOperations", "wait", "POST", "/compute/v1/projects/{project}/zones/{zone}/operations/{operation}/wait"),
    ],
)
def test_methods_are_read_from_googles_library(resource: str, name: str, verb: str, uri: str) -> None:
    assert (name, verb, uri) in [(found.name, found.verb, found.uri) for found in methods_of(resource)]


@pytest.mark.parametrize(
    "row",
    [
        "| `attachDisk` | partly | regional disks, local SSDs |",  # beside its route
        "| `setTags` | partly | effect: there are no firewalls |",  # of several methods of one route
        "| `setMachineType` | there |  |",
        "| [disks](#disks) | 7 | 4 | 9 |",
        "| `getFromFamily` | there |  |",
        "| licenses |  |  | 8 |",
    ],
)
def test_the_table_says_what_is_there(emulator: Emulator, row: str) -> None:
    assert row in api_methods(emulator).splitlines()
