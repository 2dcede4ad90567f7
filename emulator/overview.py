"""What an emulator has, in one answer: what the page shows."""

from typing import Any

from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.services import Services
from cos_customizer.emulator.storage.store import Store

MOST = 500
"""How many resources of a kind are in it; the newest are."""


def overview(services: Services, objects: Store) -> dict[str, Any]:
    """Return what people want to know of each resource, the newest first, and how many there are of each kind.

    Args:
        services: of the emulator.
        objects: of Cloud Storage.
    """
    engine = services.engine
    places = {"instances": "zones/-", "images": "global", "snapshots": "global", "disks": "zones/-"}
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in places}
    projects = engine.shared.store.projects()
    for project in projects:
        for kind, place in places.items():
            found[kind] += [_shown(path, each) for path, each in engine.under(f"projects/{project}/{place}/{kind}")]
    found["buckets"] = [_bucket(each, objects) for each in objects.buckets()]
    found["secrets"] = [
        {"path": each["name"], "name": each["name"].rpartition("/")[2], "created": each["createTime"]}
        for known in services.secrets.saved()
        for each in [known["secret"]]
    ]
    found["keys"] = [
        {
            "path": each["name"],
            "name": each["name"].rpartition("/")[2],
            "algorithm": each["versionTemplate"]["algorithm"],
            "created": each["createTime"],
        }
        for each in services.keys.all()
    ]
    images = services.images
    found["containers"] = [{"path": name, "name": name, "tags": images.tags(name)} for name in images.repositories()]
    counts = {kind: len(each) for kind, each in found.items()}
    newest = {
        kind: sorted(each, key=lambda one: str(one.get("created", "")), reverse=True)[:MOST]
        for kind, each in found.items()
    }
    return {"counts": counts, "resources": newest}


def _shown(path: str, resource: Resource) -> dict[str, Any]:
    parts = path.split("/")
    links = [name for name in ("machineType", "sourceImage", "sourceDisk") if name in resource]
    last: dict[str, Any] = {name: str(resource[name]).rpartition("/")[2] for name in links}
    names = ("status", "family", "diskSizeGb", "sizeGb")
    copied: dict[str, Any] = {name: resource[name] for name in names if name in resource}
    place = parts[3] if parts[2] == "zones" else "global"
    about = {"path": path, "name": parts[-1], "project": parts[1], "place": place}
    state = resource.get("deprecated", {}).get("state", "")
    return {**about, **copied, **last, "deprecated": state, "created": resource.get("creationTimestamp", "")}


def _bucket(bucket: Resource, objects: Store) -> dict[str, Any]:
    sizes = [stored.size for _, stored in objects.objects(bucket["name"])]
    about = {"path": bucket["name"], "name": bucket["name"], "created": bucket.get("timeCreated", "")}
    return {**about, "objects": len(sizes), "bytes": sum(sizes)}
