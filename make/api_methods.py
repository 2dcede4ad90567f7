"""Tables of Compute Engine's methods, and of what the local one has of them.

The methods are those of Google's own library; what is there is what the emulator's routes and its lists say.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from flask import Flask
from google.cloud import compute_v1
from support.compute_clients import PROJECT, ZONE, call
from werkzeug.exceptions import HTTPException

from cos_customizer.emulator.compute.api import GENERIC, compute_api
from cos_customizer.emulator.compute.zones import what_lists_lack
from cos_customizer.emulator.server import Emulator
from cos_customizer.emulator.web import application

RESOURCES = (
    "instances",
    "disks",
    "images",
    "imageFamilyViews",
    "snapshots",
    "instanceTemplates",
    "regionInstanceTemplates",
    "zoneOperations",
    "regionOperations",
    "globalOperations",
    "projects",
    "zones",
    "regions",
    "machineTypes",
    "diskTypes",
    "acceleratorTypes",
    "networks",
    "subnetworks",
    "firewalls",
    "addresses",
    "routes",
    "licenses",
    "licenseCodes",
    "machineImages",
    "resourcePolicies",
    "reservations",
    "instanceGroups",
    "instanceGroupManagers",
    "regionDisks",
    "regionSnapshots",
)
"""The resources that matter to whoever builds images and runs VMs of them, named as Google's reference names them."""
_REFERENCE = "https://cloud.google.com/compute/docs/reference/rest/v1"
_PLACES = {"project": PROJECT, "zone": ZONE, "region": ZONE.rpartition("-")[0]}
_HERE, _PARTLY, _NOT_HERE = "there", "partly", "not there"


@dataclass(frozen=True)
class Method:
    """A method of the API.

    Attributes:
        name: as Google's reference names it.
        verb: of HTTP.
        uri: its path, with parameters in braces.
    """

    name: str
    verb: str
    uri: str

    @property
    def path(self) -> str:
        """A path that a request may have."""
        return re.sub(r"\{(\w+)\}", lambda parameter: _PLACES.get(parameter[1], "name"), self.uri)

    @property
    def collection(self) -> str:
        """The path of the list that it reads, or that it reads one resource of."""
        return self.path.rpartition("/")[0] if self.uri.endswith("}") else self.path


def methods_of(resource: str) -> Iterator[Method]:
    """The methods of a resource that Google's library has."""
    service = re.sub(r"(?=[A-Z])", "_", resource).lower()
    module = importlib.import_module(f"{compute_v1.__name__}.services.{service}.transports.rest_base")
    (transport,) = (found for name, found in vars(module).items() if name.endswith("RestTransport") and name[0] == "_")
    for name, found in sorted(vars(transport).items()):
        if inspect.isclass(found) and hasattr(found, "_get_http_options"):
            method = name.removeprefix("_Base")
            for option in found._get_http_options():  # noqa: SLF001 (the library tells it nowhere else)
                yield Method(method[0].lower() + method[1:], option["method"].upper(), option["uri"])


def api_methods(emulator: Emulator) -> str:
    """A summary, and a table of each resource."""
    app, rows, parts = application(compute_api), [], []
    for resource in RESOURCES:
        states = {method.name: _state(app, emulator, method) for method in methods_of(resource)}
        there = [name for name, (state, _) in states.items() if state != _NOT_HERE]
        absent = [name for name, (state, _) in states.items() if state == _NOT_HERE]
        counts = [sum(state == each for state, _ in states.values()) for each in (_HERE, _PARTLY, _NOT_HERE)]
        heading = f"[{resource}](#{resource.lower()})" if there else resource
        rows.append(f"| {heading} | {' | '.join(str(count or '') for count in counts)} |")
        if there:
            table = [f"| `{name}` | {states[name][0]} | {states[name][1]} |" for name in there]
            parts.append(f"### {resource}\n\n[Google's reference]({_REFERENCE}/{resource})\n")
            parts.append("\n".join(["| Method | | Missing |", "|---|---|---|", *table]) + "\n")
            parts.append(f"Not there: {', '.join(f'`{name}`' for name in absent)}.\n" if absent else "")
    summary = "\n".join(["| Resource | There | Partly | Not there |", "|---|---|---|---|", *rows]) + "\n"
    return "\n".join([summary, *filter(None, parts)])


def _state(app: Flask, emulator: Emulator, method: Method) -> tuple[str, str]:
    """Whether a method is there, and what is missing."""
    try:
        endpoint, arguments = app.url_map.bind("").match(method.path, method.verb)
    except HTTPException:
        return _NOT_HERE, ""
    name = endpoint.removeprefix(f"{compute_api.name}.")
    if name in GENERIC:
        return _state_of_list(emulator, method)
    missing: dict[str, str] = getattr(app.view_functions[endpoint], "missing", {})
    found = missing.get(arguments.get("method", ""), missing.get("", ""))
    return (_PARTLY if found else _HERE), found


def _state_of_list(emulator: Emulator, method: Method) -> tuple[str, str]:
    """The same of a method that all kinds of resources are read by: whether there is a list of them."""
    if call(emulator, "GET", method.collection)[0] != 200:
        return _NOT_HERE, ""
    missing = what_lists_lack(method.collection.partition("/v1/")[2])
    return (_PARTLY if missing else _HERE), missing
