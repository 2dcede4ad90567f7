"""Deleting many things: all are begun, then waited for; one that fails does not stop the others."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.cloud import compute_v1

from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients

Ended = Callable[[], Removal]


@dataclass(frozen=True)
class Deletion:
    """How to delete one thing.

    Attributes:
        removal: what is deleted, and why.
        method: of a Google client; deletes.
        request: of the method, with a request id.
        wait: waits for an operation: `calls.wait_for_zone_operation` or its like, all but the last two arguments given.
    """

    removal: Removal
    method: Callable[..., compute_v1.Operation]
    request: Any
    wait: Callable[[compute_v1.Operation, str], object]


def image(clients: Clients, project: str, id: str, removal: Removal) -> Deletion:  # noqa: A002 - the API's word
    """How to delete an image.

    Named by its id, as the API takes it in a name's place, so that another image which has got the name meanwhile is
    not deleted in its stead (the discovery document has the pattern `[a-z]…|[1-9][0-9]{0,19}`:
    https://compute.googleapis.com/discovery/v1/apis/compute/v1/rest).

    Args:
        clients: Google's clients.
        project: of the image.
        id: numeric id.
        removal: what is deleted, and why.
    """
    request = compute_v1.DeleteImageRequest(project=project, image=id, request_id=str(uuid.uuid4()))
    wait = partial(calls.wait_for_global_operation, clients, project)
    return Deletion(removal, clients.images.delete_unary, request, wait)


def instance(clients: Clients, project: str, zone: str, id: str, removal: Removal) -> Deletion:  # noqa: A002
    """How to delete a VM; arguments as for `image`."""
    request = compute_v1.DeleteInstanceRequest(project=project, zone=zone, instance=id, request_id=str(uuid.uuid4()))
    wait = partial(calls.wait_for_zone_operation, clients, project, zone)
    return Deletion(removal, clients.instances.delete_unary, request, wait)


def disk(clients: Clients, project: str, zone: str, id: str, removal: Removal) -> Deletion:  # noqa: A002
    """How to delete a disk; arguments as for `image`."""
    request = compute_v1.DeleteDiskRequest(project=project, zone=zone, disk=id, request_id=str(uuid.uuid4()))
    wait = partial(calls.wait_for_zone_operation, clients, project, zone)
    return Deletion(removal, clients.disks.delete_unary, request, wait)


def delete_all(deletions: Sequence[Deletion]) -> list[Removal]:
    """Delete things of one kind, all at once.

    Args:
        deletions: what to delete.

    Returns:
        What came of each: `deleted`, `gone` if it was not there, or `failed` with the reason.
    """
    begun = [_begin(deletion) for deletion in deletions]
    return [ended() for ended in begun]


def _begin(deletion: Deletion) -> Ended:
    doing = f"delete {deletion.removal.kind} {deletion.removal.name}"
    outcome = _outcome(deletion.removal, lambda: calls.call(deletion.method, deletion.request, doing))
    if isinstance(outcome, Removal):
        return lambda: outcome

    def wait() -> Removal:
        done = _outcome(deletion.removal, lambda: deletion.wait(outcome, doing))
        return done if isinstance(done, Removal) else deletion.removal.ended("deleted")

    return wait


def _outcome(removal: Removal, work: Callable[[], Any]) -> Any:
    """What `work` returns, or what its error makes of the removal."""
    try:
        return work()
    except NotFoundError:
        return removal.ended("gone", "somebody else has deleted it")
    except CustomizerError as error:
        return removal.ended("failed", error.message)
