"""Routes of disks."""

from flask import Response, request

from cos_customizer.emulator.compute.labels import set_labels
from cos_customizer.emulator.compute.routes.blueprint import V1, change, checked_body, compute_api, engine, flag, partly

_DISKS = f"{V1}/<project>/zones/<zone>/disks"


@compute_api.post(_DISKS)
@partly("instant snapshots, storage pools, access modes, encryption with keys of customers")
def _insert_disk(project: str, zone: str) -> Response:
    body, image = checked_body("Disk"), request.args.get("sourceImage", "")
    return change(project, "disks.insert", lambda: engine().disks.insert(project, zone, body, image))


@compute_api.delete(f"{_DISKS}/<name>")
def _delete_disk(project: str, zone: str, name: str) -> Response:
    return change(project, "disks.delete", lambda: engine().disks.delete(project, zone, name))


@compute_api.post(f"{_DISKS}/<name>/setLabels")
def _label_disk(project: str, zone: str, name: str) -> Response:
    body, path = checked_body("ZoneSetLabelsRequest"), f"projects/{project}/zones/{zone}/disks/{name}"
    return change(project, "disks.setLabels", lambda: set_labels(engine().shared, path, body))


@compute_api.post(f"{_DISKS}/<name>/resize")
def _resize_disk(project: str, zone: str, name: str) -> Response:
    body = checked_body("DisksResizeRequest")
    return change(project, "disks.resize", lambda: engine().disks.resize(project, zone, name, body))


@compute_api.post(f"{_DISKS}/<name>/createSnapshot")
@partly("`guestFlush`; a VM that runs stands still meanwhile")
def _snapshot_disk(project: str, zone: str, name: str) -> Response:
    body = checked_body("Snapshot")
    body = {**body, "guestFlush": flag("guestFlush") or body.get("guestFlush")}
    path = f"projects/{project}/zones/{zone}/disks/{name}"
    return change(project, "disks.createSnapshot", lambda: engine().snapshots.insert(project, body, path))
