"""Making another image the one that its family gives: clearing a deprecation, then deprecating what is in front."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from cos_customizer.customizer.errors import ConflictError, CustomizerError, NotFoundError
from cos_customizer.customizer.families.image_expiry import FamilyImage
from cos_customizer.customizer.families.rollback import Rollback, plan_rollback
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.references import ImageRef
from cos_customizer.customizer.reporting.announcements import ImageRolledBack
from cos_customizer.customizer.reporting.events import publish
from cos_customizer.gcp import calls, deprecation
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.families import current_image, family_images


def plan(clients: Clients, project: str, family: str, now: float, to: str = "") -> Rollback:
    """Decide what a rollback changes. Nothing is changed yet.

    Args:
        clients: Google's clients.
        project: of the family.
        family: its name.
        now: Unix time.
        to: name of the image that the family is to give; by default the one before the current one.

    Raises:
        NotFoundError: there is no such family, or no such image.
        CustomizerError: see `plan_rollback`, or the API does not say.
    """
    images = family_images(clients, project, [family])
    if not images:
        raise NotFoundError(
            Message("{}: project {} has no image in family {}", FieldPath("image_family"), project, family),
            f"`gcloud compute images list --project={project} --no-standard-images --show-deprecated` lists what is.",
        )
    return plan_rollback(images, current_image(clients, project, family), now, to)


def apply(
    clients: Clients,
    project: str,
    family: str,
    rollback: Rollback,
    on_change: Callable[[str, FamilyImage], object],
    deleted: float | None = None,
) -> None:
    """Change what is to be changed, so that the family gives the one image, then the other, and nothing else.

    Args:
        clients: Google's clients.
        project: of the family.
        family: its name.
        rollback: from `plan`.
        on_change: called with each change that was made: `undeprecated` or `deprecated`, and the image.
        deleted: Unix time from which those that are deprecated count as deleted; None for never.

    Raises:
        ConflictError: the family gives another image all the same: a newer one has come meanwhile.
        CustomizerError: a change could not be made; the message says which image the family gives now.
    """
    target = rollback.target
    incomplete = f"the rollback to {target.name} is not complete, family {family} may still give"
    body = {"state": "DEPRECATED", "replacement": ImageRef(project, target.name).path}
    if deleted is not None:
        body["deleted"] = datetime.fromtimestamp(round(deleted), UTC).isoformat()
    undeprecated = False
    if rollback.undeprecate:
        now = _look_again(clients, project, family, target)[target.id]
        if now.deprecation or now.deleted is not None:
            with _saying(f"{incomplete} another image"):
                _deprecate(clients, project, target, {}, "clear the deprecation of")
            on_change("undeprecated", target)
            undeprecated = True
    deprecated: list[str] = []
    for image in rollback.deprecate:
        with _saying(f"{incomplete} {image.name}"):
            there = _look_again(clients, project, family, target)
            if there[target.id].deprecation:
                raise ConflictError(f"somebody has deprecated {target.name} meanwhile")
            if image.id not in there or there[image.id].deprecation:  # somebody else has done it
                continue
            _deprecate(clients, project, image, body, "deprecate")
        on_change("deprecated", image)
        deprecated.append(image.name)
    with _saying(f"the rollback to {target.name} is done, but what family {family} gives was not seen"):
        given = current_image(clients, project, family)
    if given != target.id:
        raise ConflictError(
            f"family {family} does not give {target.name}: a newer image has come into it meanwhile",
            "look which it is, and roll back again if need be.",
        )
    if undeprecated or deprecated:  # by us, and by nobody else meanwhile
        publish(
            ImageRolledBack(
                project=project,
                family=family,
                image=target.name,
                image_id=target.id,
                deprecated=tuple(deprecated),
            )
        )


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """Say of an error how far the rollback has come."""
    try:
        yield
    except CustomizerError as error:
        hint = error.hint or "run it again when the cause is gone."
        raise CustomizerError(Message("{}: {}", what, error.message), hint) from error


def _look_again(clients: Clients, project: str, family: str, target: FamilyImage) -> dict[str, FamilyImage]:
    """The family's images by id, read right before each change: others change the family as well.

    Raises:
        ConflictError: the target is gone: whoever went on would leave the family without an image.
        CustomizerError: the API does not say.
    """
    images = {image.id: image for image in family_images(clients, project, [family])}
    if target.id not in images or not images[target.id].released:
        raise ConflictError(f"image {target.name} is not in family {family} any more, or cannot be used")
    return images


def _deprecate(clients: Clients, project: str, image: FamilyImage, body: dict[str, Any], verb: str) -> None:
    doing = f"{verb} image {project}/{image.name}"
    # By its id: another image may have the name by now.
    operation = deprecation.begin(clients, project, image.id, body, str(uuid.uuid4()), doing)
    calls.wait(clients, operation, doing)
