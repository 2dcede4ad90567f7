"""Deleting things: each is judged and begun, then all are waited for; one that fails does not stop the others."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.cloud import compute_v1

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import CustomizerError, NotFoundError, PermissionDeniedError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ImageRef, VmRef
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients

BUSY_PATIENCE = 180.0
"""Seconds for which a build tries again to delete what is busy: still being made, or something is still made of it."""
_FINAL = (NotFoundError, PermissionDeniedError, deadline.TimeUpError)
"""Errors that another try does not get past."""

Judge = Callable[[], Removal]
"""Reads again whatever speaks for a deletion, and decides anew: `delete`, or what becomes of the thing instead."""


@dataclass(frozen=True)
class Deletion:
    """How to delete one thing.

    Attributes:
        removal: What is deleted, and why.
        method: Of a Google client; deletes.
        request: The method's request message, without a request id.
        judge: Reads again whatever speaks for the deletion, and decides anew; called right before each request. None:
            the thing is the caller's own, and its to delete.
    """

    removal: Removal
    method: Callable[..., compute_v1.Operation]
    request: Any
    judge: Judge | None = None

    @property
    def doing(self) -> str:
        """What is being done, for error messages."""
        return f"delete {self.removal.kind} {self.removal.name}"


def image(clients: Clients, image: ImageRef, removal: Removal, judge: Judge | None = None) -> Deletion:
    """How to delete an image.

    If it is named by its id, as the API takes it in a name's place, another image which has got the name meanwhile is
    not deleted in its stead (the discovery document has the pattern `[a-z]…|[1-9][0-9]{0,19}`:
    https://compute.googleapis.com/discovery/v1/apis/compute/v1/rest).

    Args:
        clients: Google's clients.
        image: Named by its name or its id.
        removal: What is deleted, and why.
        judge: Decides anew right before the deletion; see `Deletion`.
    """
    request = compute_v1.DeleteImageRequest(project=image.project, image=image.name)
    return Deletion(removal, clients.images.delete_unary, request, judge)


def vm(clients: Clients, vm: VmRef, removal: Removal, judge: Judge | None = None) -> Deletion:
    """How to delete a VM; arguments as for `image`."""
    request = compute_v1.DeleteInstanceRequest(project=vm.project, zone=vm.zone, instance=vm.name)
    return Deletion(removal, clients.instances.delete_unary, request, judge)


def disk(clients: Clients, disk: VmRef, removal: Removal, judge: Judge | None = None) -> Deletion:
    """How to delete a VM's boot disk, or another disk; arguments as for `image`."""
    request = compute_v1.DeleteDiskRequest(project=disk.project, zone=disk.zone, disk=disk.name)
    return Deletion(removal, clients.disks.delete_unary, request, judge)


def delete_all(clients: Clients, deletions: Sequence[Deletion], patience: float = 0.0) -> list[Removal]:
    """Delete things of one kind, all at once.

    Args:
        clients: Google's clients.
        deletions: What to delete.
        patience: Seconds for which what is busy, or could not be deleted for another reason, is tried again.

    Returns:
        What came of each: `deleted`, `gone` if it was not there, `failed` with the reason, or what its judge has said.
    """
    end, pause = time.monotonic() + deadline.left(patience), 1.0
    ended: dict[int, Removal] = {}
    while left := [number for number in range(len(deletions)) if number not in ended]:
        refused = _delete_once(clients, {number: deletions[number] for number in left}, ended)
        for number, error in refused.items():
            if isinstance(error, _FINAL) or time.monotonic() + pause >= end:
                ended[number] = _failure(deletions[number].removal, error)
        if len(ended) < len(deletions):
            time.sleep(pause)
            pause = min(1.5 * pause, 10.0)
    return [ended[number] for number in range(len(deletions))]


def _delete_once(
    clients: Clients, deletions: dict[int, Deletion], ended: dict[int, Removal]
) -> dict[int, CustomizerError]:
    """Begin all deletions, then wait for them: `ended` gets what has come to its end; returns why others have not."""
    begun: dict[int, compute_v1.Operation] = {}
    refused: dict[int, CustomizerError] = {}
    for number, deletion in deletions.items():
        deletion.request.request_id = str(uuid.uuid4())  # a new one for each try: a refusal is remembered with its id
        try:
            deadline.check(deletion.doing)
            if deletion.judge is not None and (verdict := deletion.judge()).action != "delete":
                ended[number] = verdict
                continue
            begun[number] = calls.call(deletion.method, deletion.request, deletion.doing)
        except CustomizerError as error:
            refused[number] = error
    with calls.at_most(calls.OPERATION_PATIENCE):  # for all of them: they go on side by side
        for number, operation in begun.items():
            try:
                calls.wait(clients, operation, deletions[number].doing)
            except CustomizerError as error:
                refused[number] = error
            else:
                ended[number] = deletions[number].removal.ended("deleted")
    return refused


def _failure(removal: Removal, error: CustomizerError) -> Removal:
    if isinstance(error, NotFoundError):
        return removal.ended("gone", "somebody else has deleted it")
    return removal.ended("failed", error.message, error.hint)
