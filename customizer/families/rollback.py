"""Which image a rollback leads to. Facts in, decisions out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cos_customizer.customizer.durations import human_time
from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.families.image_expiry import FamilyImage
from cos_customizer.customizer.fields import FieldPath, Message

_TO = FieldPath("to")
TIME_LIMIT = "15m0s"
"""Go duration that the command may take, unless it is given another."""


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
