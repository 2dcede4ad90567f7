"""Lists as the API answers them: filtered, ordered, in pages."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from cos_customizer.emulator.compute.engine import ComputeEngine
from cos_customizer.emulator.compute.filters import parse
from cos_customizer.emulator.compute.references import link
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.compute.zones import NONE, REGIONS, region_of, zone_names
from cos_customizer.emulator.errors import ApiError

_MOST = 500
_PLACES: dict[str, tuple[str, ...]] = {
    "operations": ("global", "regions/-", "zones/-"),
    "instanceTemplates": ("global", "regions/-"),
    "snapshots": ("global",),
    "subnetworks": ("regions/-",),
    **{kind: tuple(f"{place}/-" if place != "global" else place for place in places) for kind, places in NONE.items()},
}
"""Where the resources of a kind are, if they are not in zones alone."""
_SCOPES = {
    "global": ["global"],
    "regions/-": [f"regions/{region}" for region in REGIONS],
    "zones/-": [f"zones/{zone}" for zone in zone_names()],
}
"""The scopes of an aggregated list, by place."""


def page(engine: ComputeEngine, collection: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer to a list request.

    Args:
        engine: holds the resources.
        collection: for example `projects/p/global/images`.
        query: the request's `filter`, `orderBy`, `maxResults` and `pageToken`.

    Raises:
        ApiError: 400 for a bad parameter, 404 for a collection that does not exist.
    """
    items, token = _select(engine.under(collection), query)
    kind = collection.rsplit("/", 1)[1].removesuffix("s")
    answer: dict[str, Any] = {"kind": f"compute#{kind}List", "id": collection, "selfLink": link(collection)}
    if items:
        answer["items"] = [resource for _, resource in items]
    if token:
        answer["nextPageToken"] = token
    return answer


def aggregated(engine: ComputeEngine, project: str, kind: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer to an aggregated list request: the resources of all zones, of all regions, and global ones.

    Args:
        engine: holds the resources.
        project: whose resources.
        kind: for example `instances`.
        query: as for `page`.
    """
    places = _PLACES.get(kind, ("zones/-",))
    found = [item for place in places for item in engine.under(f"projects/{project}/{place}/{kind}")]
    items, token = _select(found, query)
    scopes: dict[str, Any] = {}
    for path, resource in items:
        scope = "/".join(path.split("/")[2:-2])
        scopes.setdefault(scope, {kind: []})[kind].append(resource)
    for scope in [scope for place in places for scope in _SCOPES[place]]:
        if scope not in scopes:
            data = [{"key": "scope", "value": scope}]
            message = f"There are no results for scope '{scope}' on this page."
            scopes[scope] = {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": message, "data": data}}
    collection = f"projects/{project}/aggregated/{kind}"
    answer = {
        "kind": f"compute#{kind.removesuffix('s')}AggregatedList",
        "id": collection,
        "items": dict(sorted(scopes.items(), key=lambda scope: (region_of(scope[0]), scope[0]))),
        "selfLink": link(collection),
    }
    if token:
        answer["nextPageToken"] = token
    return answer


def _select(found: list[tuple[str, Resource]], query: Mapping[str, str]) -> tuple[list[tuple[str, Resource]], str]:
    matches = parse(query.get("filter", ""))
    order = query.get("orderBy", "name")
    if order not in ("name", "creationTimestamp desc"):
        why = "Only 'name' and 'creationTimestamp desc' are supported."
        raise ApiError(400, "invalid", f"Invalid value for field 'orderBy': '{order}'. {why}")
    newest_first = order != "name"

    def position(item: tuple[str, Resource]) -> list[str]:
        return [item[1].get("creationTimestamp", ""), item[0]] if newest_first else [item[0]]

    kept = sorted((item for item in found if matches(item[1])), key=position, reverse=newest_first)
    after = _decode(query.get("pageToken", ""))
    if after:
        kept = [item for item in kept if (position(item) < after if newest_first else position(item) > after)]
    size = _page_size(query.get("maxResults", str(_MOST)))
    if len(kept) <= size:
        return kept, ""
    return kept[:size], base64.urlsafe_b64encode(json.dumps(position(kept[size - 1])).encode()).decode()


def _page_size(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) > _MOST:
        raise ApiError(400, "invalid", f"Invalid value for field 'maxResults': '{text}'. Must be from 0 to {_MOST}.")
    return int(text) or _MOST


def _decode(token: str) -> list[str]:
    if not token:
        return []
    try:
        position = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, RecursionError):
        position = None
    if isinstance(position, list):
        return [str(part) for part in position]
    raise ApiError(400, "invalid", f"Invalid value for field 'pageToken': '{token[:100]}'.")
