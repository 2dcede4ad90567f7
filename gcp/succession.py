"""Images that take the place of one whose name is taken: which there are, what the next one is called.

See `customizer.families.existing` for what a series is.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

from cos_customizer.customizer.families.existing import is_of_series
from cos_customizer.customizer.families.rebuild import dated_name
from cos_customizer.customizer.names import UNRELEASED, BuildNames
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.deprecation import Replacement, deprecate
from cos_customizer.gcp.images import ResolvedImage, list_images


@dataclass(frozen=True)
class Replaced:
    """What has become of the images that a new one takes the place of.

    Attributes:
        deprecated: Names of those that were deprecated.
        kept: Names of those that stay as they are: their family would give no image without them.
    """

    deprecated: list[str]
    kept: list[str]


def name_of_successor(clients: Clients, project: str, base: str, recipe: str, day: date) -> str:
    """The name of the image that is to take the place of a series' newest.

    It is the newest one's own if this recipe has made that, deprecated or not: after a rollback the same recipe does
    not bring it back. It is that of an image that a killed build of this recipe has left, or that another one makes
    right now, if there is one: to be waited for, verified, released. Otherwise it is new.

    Args:
        clients: Google's clients.
        project: Of the images.
        base: The name that the series begins with.
        recipe: Fingerprint of the recipe.
        day: To put into a new name.

    Raises:
        CustomizerError: The API does not say.
    """
    series = _series(clients, project, base)
    of_recipe = [image for image in series if image.provenance is not None and image.provenance.recipe == recipe]
    released = [image for image in series if image.status == "READY" and not image.state]
    newest = max(released, key=lambda image: image.age, default=None)
    if newest is not None and newest in of_recipe:
        return newest.name
    begun = [image for image in of_recipe if image.status == "PENDING" or _is_left(image)]
    begun = [image for image in begun if newest is None or image.age > newest.age]
    if begun:
        return max(begun, key=lambda image: image.age).name
    names = {image.name for image in series}
    return dated_name(base, day, names.__contains__)


def _is_left(image: ResolvedImage) -> bool:
    """Whether an image waits for its verification and release."""
    return image.status == "READY" and image.state == UNRELEASED


def _series(clients: Clients, project: str, base: str) -> list[ResolvedImage]:
    # Of all images, for a filter would have to know how a long name is cut.
    return [image for image in list_images(clients, project) if is_of_series(image.name, base)]


def replace_older(
    clients: Clients, base: str, new_image: ResolvedImage, body: dict[str, Any], build: BuildNames
) -> Replaced:
    """Deprecate a series' images that are older than the new one, in favour of it.

    The first one is deprecated whoever has made it; others only if this tool has: their names may be anybody's.

    Args:
        clients: Google's clients.
        base: The name that the series begins with.
        new_image: Of the series; it is ready and released.
        body: Of `images.deprecate`.
        build: The build's names.

    Raises:
        CustomizerError: Some could not be deprecated; the others are all the same.
    """

    def replaced(image: ResolvedImage) -> bool:
        return (
            (image.name == base or image.provenance is not None)
            and image.status == "READY"
            and not image.state
            and not image.deprecation
            and image.age < new_image.age
        )

    older = [image for image in _series(clients, new_image.project, base) if image.id != new_image.id]
    older = [image for image in older if replaced(image)]
    replacement = Replacement(clients, new_image.family, new_image, body, build, replaced)
    leaving = [image for image in older if image.family in ("", new_image.family)]
    return Replaced(deprecate(replacement, leaving), [image.name for image in older if image not in leaving])
