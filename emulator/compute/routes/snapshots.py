"""Routes of snapshots."""

from flask import Response

from cos_customizer.emulator.compute.labels import set_labels
from cos_customizer.emulator.compute.routes.blueprint import V1, change, checked_body, compute_api, engine, partly

_SNAPSHOTS = f"{V1}/<project>/global/snapshots"


@compute_api.post(_SNAPSHOTS)
@partly("instant snapshots; a VM that runs stands still meanwhile")
def _insert_snapshot(project: str) -> Response:
    body = checked_body("Snapshot")
    return change(project, "snapshots.insert", lambda: engine().snapshots.insert(project, body))


@compute_api.delete(f"{_SNAPSHOTS}/<name>")
def _delete_snapshot(project: str, name: str) -> Response:
    return change(project, "snapshots.delete", lambda: engine().snapshots.delete(project, name))


@compute_api.post(f"{_SNAPSHOTS}/<name>/setLabels")
def _label_snapshot(project: str, name: str) -> Response:
    body, path = checked_body("GlobalSetLabelsRequest"), f"projects/{project}/global/snapshots/{name}"
    return change(project, "snapshots.setLabels", lambda: set_labels(engine().shared, path, body))
