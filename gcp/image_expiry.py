"""Deleting a family's images past their date of deletion: plan first, then delete."""

from collections.abc import Sequence

from cos_customizer.customizer.families.image_expiry import FamilyImage, Retention, likely_current, plan_expiry
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ImageRef
from cos_customizer.customizer.reporting.announcements import ImageExpired
from cos_customizer.customizer.reporting.events import publish
from cos_customizer.gcp import contents_removal, deletion
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.families import current_image, family_images
from cos_customizer.gcp.fresh_reading import FreshReading
from cos_customizer.gcp.image_users import images_in_use
from cos_customizer.gcp.images import find_image
from cos_customizer.gcp.side_by_side import do_all

Decision = tuple[FamilyImage, Removal]


def plan(clients: Clients, retention: Retention, now: float) -> list[Decision]:
    """Decide on every image of the families. Nothing is changed.

    Args:
        clients: Google's clients.
        retention: what is kept.
        now: Unix time.

    Returns:
        Every image and what is to become of it; see `plan_expiry`.

    Raises:
        CustomizerError: the API does not say what is there, or what is in use.
    """
    images = family_images(clients, retention.project, retention.families)
    current = likely_current(images)
    decided = plan_expiry(images, current, {}, retention, now)
    # Where nothing is to go, neither what the family gives nor what is in use matters.
    if families := sorted({image.family for image, removal in decided if _goes(removal)}):
        current |= _current(clients, retention.project, families)
        decided = plan_expiry(images, current, _users(clients, retention, images), retention, now)
    return decided


def _current(clients: Clients, project: str, families: Sequence[str]) -> dict[str, str]:
    """Ids of the images that families give, by family."""
    found = do_all(lambda family: current_image(clients, project, family), families)
    return dict(zip(families, found, strict=True))


def _users(clients: Clients, retention: Retention, images: Sequence[FamilyImage]) -> dict[str, str]:
    """What uses images, by id."""
    ids = {image.name: image.id for image in images}
    return images_in_use(clients, retention.project, ids, retention.disk_projects or [retention.project])


def apply(clients: Clients, retention: Retention, decided: Sequence[Decision], now: float) -> list[Removal]:
    """Delete what is to be deleted: each is judged again right before, by all that it was judged by.

    What is read for that, images share that are deleted within the same two seconds.

    Args:
        clients: Google's clients.
        retention: as for `plan`.
        decided: by `plan`.
        now: Unix time.

    Returns:
        What came of every image, in the same order; then of what is recorded of those that are gone.
    """
    going = [(image, removal) for image, removal in decided if _goes(removal)]
    readings = FreshReading([image for image, _ in going], lambda images: _read_again(clients, retention, images, now))

    def deletion_of(number: int, image: FamilyImage, removal: Removal) -> deletion.Deletion:
        def judge() -> Removal:
            verdict = readings.about(number).get(image.id)
            return verdict or _not_in_family(clients, retention.project, image, removal)

        return deletion.image(clients, ImageRef(retention.project, image.id), removal, judge)

    deletions = [deletion_of(number, image, removal) for number, (image, removal) in enumerate(going)]
    ended = iter(deletion.delete_all(clients, deletions))
    done = [(image, next(ended) if _goes(removal) else removal) for image, removal in decided]
    for image, removal in done:
        if removal.action == "deleted":
            _announce(retention.project, image, removal)
    gone = [image for image, removal in done if removal.action in ("deleted", "gone") and image.contents]
    recorded = do_all(lambda image: contents_removal.discard(clients, image.contents, image.build), gone)
    return [*(removal for _, removal in done), *(removal for removals in recorded for removal in removals)]


def _announce(project: str, image: FamilyImage, removal: Removal) -> None:
    why = removal.reason
    publish(ImageExpired(project=project, image=image.name, image_id=image.id, family=image.family, reason=why))


def _read_again(
    clients: Clients, retention: Retention, images: Sequence[FamilyImage], now: float
) -> dict[str, Removal]:
    """What is to become of images by what is there now, by id. What takes longest to read is read first."""
    used = _users(clients, retention, images)
    families = list(dict.fromkeys(image.family for image in images))
    found = family_images(clients, retention.project, families)
    current = _current(clients, retention.project, sorted({image.family for image in found}))
    return {image.id: verdict for image, verdict in plan_expiry(found, current, used, retention, now)}


def _not_in_family(clients: Clients, project: str, image: FamilyImage, removal: Removal) -> Removal:
    if find_image(clients, ImageRef(project, image.id)) is None:
        return removal.ended("gone", "somebody else has deleted it")
    return removal.ended("keep", f"not in family {image.family} any more")


def _goes(removal: Removal) -> bool:
    return removal.action == "delete"
