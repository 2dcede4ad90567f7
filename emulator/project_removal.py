"""Removes all that one project has, and leaves the others alone."""

import http.client
import time

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.projects import project_number
from cos_customizer.emulator.services import Services
from cos_customizer.emulator.storage.store import Store

_POLL = 0.02
_FIRST = ("instances", "disks")
"""Kinds of resources that are removed before all others, one after the other: they use those."""


def remove_project(services: Services, objects: Store, port: int, project: str, seconds: float) -> None:
    """Remove instances, then what they have used, by the API as a user would; then what has no API to delete it.

    Args:
        services: of the emulator.
        objects: of Cloud Storage.
        port: of Compute Engine.
        project: its id.
        seconds: how long it may take.

    Raises:
        EmulatorError: something cannot be removed, or is not done in time.
    """
    deadline = time.monotonic() + seconds
    store = services.engine.shared.store
    prefix = f"projects/{project}/"
    _await_operations(services, project, deadline)
    for kind in (*_FIRST, ""):
        for path in [path for path, _ in store.stored() if path.startswith(prefix)]:
            if kind in ("", path.split("/")[-2]) and store.find(path):
                if kind == "instances":
                    store.update(path, deletionProtection=None)
                _delete(port, path)
        _await_operations(services, project, deadline)
    for path in [path for path, _ in store.stored() if path.startswith(prefix)]:
        store.delete(path)  # a policy, or the metadata of the project
    number = str(project_number(project))
    for bucket in objects.buckets():
        if bucket.get("projectNumber") == number:
            for name, _ in list(objects.objects(bucket["name"])):
                objects.delete(bucket["name"], name)
            objects.delete_bucket(bucket["name"])
    for secret in services.secrets.under(f"projects/{number}"):
        services.secrets.delete(secret["name"], "")
    services.keys.remove_project(project)
    for log in services.logs.names(project):
        services.logs.delete(log)


def _await_operations(services: Services, project: str, deadline: float) -> None:
    marker = f"of projects/{project}/"
    services.engine.operations.hurry(f"projects/{project}/")
    while left := [each for each in services.engine.operations.under_way() if marker in each]:
        if time.monotonic() > deadline:
            raise EmulatorError(f"{left[0]} does not end", "remove the fault that holds it up")
        time.sleep(_POLL)
        services.engine.operations.hurry(f"projects/{project}/")


def _delete(port: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("DELETE", f"/compute/v1/{path}")
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 404, 405):
            raise EmulatorError(f"cannot delete {path}: {text.decode('utf-8', 'replace')[:500]}")
    finally:
        connection.close()
