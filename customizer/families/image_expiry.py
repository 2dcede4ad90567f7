"""Which images of a family are kept and which are not; which one a rollback leads to. Facts in, decisions out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cos_customizer.customizer.durations import human_time
from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.fields import FieldPath, Message

DEFAULT_KEEP_LAST = 2
"""The image in use, and the one that a rollback leads to."""
_TO = FieldPath("to")


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

    @property
    def age(self) -> tuple[float, int]:
        """Sorts images by age, oldest first; two of the same moment by id."""
        return self.created, int(self.id or 0)

    @property
    def released(self) -> bool:
        """Whether disks can be made from it, and nothing says that they should not."""
        return self.status == "READY" and not self.state


def plan_expiry(
    images: Iterable[FamilyImage],
    current: Mapping[str, str],
    in_use: Mapping[str, str],
    now: float,
    keep_last: int = DEFAULT_KEEP_LAST,
    include_others: bool = False,
) -> list[tuple[FamilyImage, Removal]]:
    """Decide on every image of some families.

    Compute Engine never acts on the `deleted` date of a deprecation
    (https://cloud.google.com/compute/docs/images/deprecate-custom): this does.

    Args:
        images: all images of the families.
        current: id of the image that `getFromFamily` gives, by family.
        in_use: what uses an image, by the image's id.
        now: Unix time.
        keep_last: how many of a family's newest ready and released images are kept whatever their date.
        include_others: delete images that this tool has not made, too.

    Returns:
        Every image with `delete` or `keep` and the reason; families by name, newest image first.
    """
    by_family: dict[str, list[FamilyImage]] = {}
    for image in images:
        by_family.setdefault(image.family, []).append(image)
    decided = []
    for family, members in sorted(by_family.items()):
        newest_first = sorted(members, key=lambda image: image.age, reverse=True)
        newest = {image.id for image in [image for image in newest_first if image.released][:keep_last]}
        for image in newest_first:
            why = _reason_to_keep(image, current.get(family) == image.id, image.id in newest, now, keep_last)
            if not why and not image.ours and not include_others:
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
        (is_current, "what the family gives now"),
        (bool(image.state), f"its state is {image.state}"),
        (image.status != "READY", f"its status is {image.status}"),
        (not image.deprecation, "not deprecated"),
        (image.deleted is None, f"{image.deprecation.lower()} without a date of deletion"),
        ((image.deleted or 0) > now, f"to be deleted on {human_time(image.deleted or 0)}"),
        (is_new, "the newest" if keep_last == 1 else f"among the newest {keep_last}"),
    )
    return next((reason for applies, reason in rules if applies), "")


@dataclass(frozen=True)
class Rollback:
    """What makes another image the one that its family gives.

    Attributes:
        target: the image that the family is to give.
        undeprecate: whether its deprecation, with all dates, is to be cleared first.
        deprecate: what to deprecate then, in this order, so that the family goes from the present image to the target
            and gives no other on the way.
    """

    target: FamilyImage
    undeprecate: bool
    deprecate: tuple[FamilyImage, ...]


def plan_rollback(images: Sequence[FamilyImage], current: str, now: float, to: str = "") -> Rollback:
    """Decide which image a family is to give, and what has to change for that.

    Args:
        images: all images of one family.
        current: id of the image that `getFromFamily` gives; empty if it gives none.
        now: Unix time.
        to: name of the image to go to, older or newer; by default the newest one that is older than the current one.

    Raises:
        NotFoundError: there is no such image.
        CustomizerError: it cannot be gone back to.
    """
    now_given = next((image for image in images if image.id == current), None)
    target = _named(images, to) if to else _previous(images, now_given, now)
    active = [image for image in images if not image.deprecation and image.status == "READY" and image.id != target.id]
    replaced = [image for image in active if image.age > target.age or image.id == current]
    return Rollback(
        target,
        bool(target.deprecation) or target.deleted is not None,
        tuple(sorted(replaced, key=lambda image: (image.id == current, image.age))),
    )


def _named(images: Iterable[FamilyImage], name: str) -> FamilyImage:
    image = next((image for image in images if image.name == name), None)
    if image is None:
        known = ", ".join(image.name for image in _newest_first(images, lambda image: image.released)[:5])
        raise NotFoundError(Message("{}: the family has no image {}", _TO, name), f"it has {known}." if known else "")
    if image.status != "READY":
        raise CustomizerError(Message("{}: image {} is not ready: its status is {}", _TO, name, image.status))
    if image.state:
        raise CustomizerError(
            Message("{}: image {} was never released: its state is {}", _TO, name, image.state),
            "a build releases what it has verified.",
        )
    return image


def _previous(images: Iterable[FamilyImage], current: FamilyImage | None, now: float) -> FamilyImage:
    if current is None:
        raise NotFoundError(
            "the family gives no image now: all are deprecated, so there is none to go back from",
            Message("{} names the one that it is to give.", _TO),
        )
    older = _newest_first(images, lambda image: image.age < current.age and image.released)
    usable = [image for image in older if image.deprecation in ("", "DEPRECATED")]
    if not usable:
        others = [f"{image.name} is {image.deprecation.lower()}" for image in older]
        raise NotFoundError(
            f"there is no image to go back to: {current.name} is the oldest of the family that can be used",
            Message("{}; {} takes it all the same.", others[0], FieldPath("to", older[0].name))
            if others
            else Message("expire-images keeps as many as {} says.", FieldPath("keep_last")),
        )
    previous = usable[0]
    if previous.deleted is not None and previous.deleted <= now:
        raise CustomizerError(
            f"the previous image {previous.name} is to be deleted since {human_time(previous.deleted)}",
            Message("{} takes it all the same, and clears that date.", FieldPath("to", previous.name)),
        )
    return previous


def _newest_first(images: Iterable[FamilyImage], keep: Callable[[FamilyImage], bool]) -> list[FamilyImage]:
    return sorted(filter(keep, images), key=lambda image: image.age, reverse=True)
