"""Which images of a family are kept and which expire. Facts in, decisions out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cos_customizer.customizer.durations import human_time
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ObjectRef

DEFAULT_KEEP_LAST = 2
"""The image in use, and the one that a rollback leads to."""


@dataclass(frozen=True)
class FamilyImage:
    """What is known of an image of a family.

    Attributes:
        id: numeric id, as text; another image of the same name has another.
        created: Unix time.
        status: `PENDING`, `READY`, `FAILED` or `DELETING`.
        deprecation: `DEPRECATED`, `OBSOLETE`, `DELETED`, or empty for an active image.
        deleted: Unix time of the deprecation's `deleted` date; None if it has none.
        state: value of the state label: `unreleased`, `failed`, or empty.
        ours: whether this tool has made it.
        build: id of the build that has made it; empty if this tool has not.
        contents: the object that tells what is in it, if there is one.
    """

    name: str
    id: str
    family: str
    created: float
    status: str = "READY"
    deprecation: str = ""
    deleted: float | None = None
    state: str = ""
    ours: bool = True
    build: str = ""
    contents: ObjectRef | None = None

    @property
    def age(self) -> tuple[float, int]:
        """Sorts images by age, oldest first; two of the same moment by id."""
        return self.created, int(self.id or 0)

    @property
    def released(self) -> bool:
        """Whether disks can be made from it, and nothing says that they should not."""
        return self.status == "READY" and not self.state


@dataclass(frozen=True)
class Retention:
    """Whose images are looked at, and what is kept.

    Attributes:
        project: of the images.
        families: names.
        keep_last: how many of a family's newest ready and released images are kept whatever their date.
        include_others: delete images that this tool has not made, too.
        disk_projects: whose disks, instance templates and images are asked for what they are made from; none:
            `project`.
    """

    project: str
    families: Sequence[str]
    keep_last: int = DEFAULT_KEEP_LAST
    include_others: bool = False
    disk_projects: Sequence[str] = ()


def likely_current(images: Iterable[FamilyImage]) -> dict[str, str]:
    """What families give, as far as a list of their images tells: each its newest one that is not deprecated.

    It is a word for people. What is to be deleted is judged by what Compute Engine says.

    Args:
        images: of the families.

    Returns:
        Ids, by family.
    """
    ready = (image for image in images if image.status == "READY" and not image.deprecation)
    return {image.family: image.id for image in sorted(ready, key=lambda image: image.age)}


def plan_expiry(
    images: Iterable[FamilyImage],
    current: Mapping[str, str],
    in_use: Mapping[str, str],
    retention: Retention,
    now: float,
) -> list[tuple[FamilyImage, Removal]]:
    """Decide on every image of some families.

    Compute Engine never acts on the `deleted` date of a deprecation
    (https://cloud.google.com/compute/docs/images/deprecate-custom): this does.

    Args:
        images: all images of the families.
        current: id of the image that `getFromFamily` gives, by family.
        in_use: what uses an image, by the image's id.
        retention: what is kept.
        now: Unix time.

    Returns:
        Every image with `delete` or `keep` and the reason; families by name, newest image first.
    """
    keep_last = retention.keep_last
    by_family: dict[str, list[FamilyImage]] = {}
    for image in images:
        by_family.setdefault(image.family, []).append(image)
    decided = []
    for family, members in sorted(by_family.items()):
        newest_first = sorted(members, key=lambda image: image.age, reverse=True)
        newest = {image.id for image in [image for image in newest_first if image.released][:keep_last]}
        for image in newest_first:
            why = _reason_to_keep(image, current.get(family) == image.id, image.id in newest, now, keep_last)
            if not why and not image.ours and not retention.include_others:
                why = "not made by cos-customizer"
            if not why and image.id in in_use:
                why = f"in use by {in_use[image.id]}"
            assert why or image.deleted is not None
            reason = why or f"to be deleted since {human_time(image.deleted or 0)}"
            decided.append((image, Removal("image", family, image.name, "keep" if why else "delete", reason)))
    return decided


def _reason_to_keep(image: FamilyImage, is_current: bool, is_new: bool, now: float, keep_last: int) -> str:
    """The first rule that keeps an image, whoever made or uses it; empty if there is none."""
    rules: tuple[tuple[bool, str], ...] = (
        (is_current, "the family's current image"),
        (bool(image.state), f"its state is {image.state}"),
        (image.status != "READY", f"its status is {image.status}"),
        (not image.deprecation, "not deprecated"),
        (image.deleted is None, f"{image.deprecation.lower()} without a date of deletion"),
        ((image.deleted or 0) > now, f"to be deleted on {human_time(image.deleted or 0)}"),
        (is_new, "the newest" if keep_last == 1 else f"among the newest {keep_last}"),
    )
    return next((reason for applies, reason in rules if applies), "")
