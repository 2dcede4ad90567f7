"""Comparing images by their recorded contents: which image with which, and what they differ in."""

from collections.abc import Callable

from cos_customizer.customizer import missing_images
from cos_customizer.customizer.contents.compared import Compared, Role, Side
from cos_customizer.customizer.contents.difference import difference
from cos_customizer.customizer.contents.image_names import WantedImage
from cos_customizer.customizer.contents.inventory import Contents
from cos_customizer.customizer.errors import NotFoundError
from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.references import ImageRef, Link
from cos_customizer.customizer.spelling import did_you_mean
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.contents import contents_of
from cos_customizer.gcp.images import ResolvedImage, find_image, image_from_family, list_images


def find(clients: Clients, wanted: WantedImage) -> ResolvedImage:
    """Find an image that somebody has named.

    Args:
        clients: Google's clients.
        wanted: It.

    Raises:
        NotFoundError: There is none; the hint names those that may be meant.
        CustomizerError: The API does not say.
    """
    if wanted.family:
        image = image_from_family(clients, wanted.project, wanted.family)
        if image is None:
            families = {each.family for each in list_images(clients, wanted.project)} - {""}
            why = f"family {wanted.family} of project {wanted.project} gives no image"
            raise NotFoundError(why, _meant(wanted.project, wanted.family, families - {wanted.family}))
        return image
    image = find_image(clients, ImageRef(wanted.project, wanted.name))
    if image is None:
        there = {each.name for each in list_images(clients, wanted.project)}
        why = f"there is no image {wanted.name} in project {wanted.project}"
        raise NotFoundError(why, _meant(wanted.project, wanted.name, there))
    return image


def _meant(project: str, name: str, there: set[str]) -> str:
    return f"{did_you_mean(name, sorted(there))} {missing_images.listing_hint(project)}".strip()


def compare_images(clients: Clients, before: ResolvedImage, after: ResolvedImage) -> Compared:
    """Compare two images.

    Args:
        clients: Google's clients.
        before: The image that is compared with.
        after: The other one.

    Raises:
        NotFoundError: The contents of one are not recorded.
        CustomizerError: They could not be fetched.
    """
    contents = contents_of(clients, before)
    found = difference(contents.after, contents_of(clients, after).after)
    return Compared(side(before), side(after), found)


def compare_with_source(clients: Clients, image: ResolvedImage, contents: Contents | None = None) -> Compared:
    """Compare an image with the one that it was made from, which need not be there any more.

    Args:
        clients: Google's clients.
        image: The image.
        contents: Its own, if they are at hand.

    Raises:
        NotFoundError: Its contents are not recorded.
        CustomizerError: They could not be fetched.
    """
    contents = contents or contents_of(clients, image)
    link = Link.parse(Provenance.source_in(image.description))
    provenance = image.provenance
    source = Side(
        project=link.project if link else "",
        name=link.name if link else "unknown",
        id=provenance.source_id if provenance else "",
        role="source",
    )
    return Compared(source, side(image), difference(contents.before, contents.after))


def compare_for_release(
    clients: Clients, image: ResolvedImage, family: str, recorded: Contents | None, on_missing: Callable[[str], None]
) -> Compared | None:
    """Compare an image that is to be released with what its family gives now; with its source image, if that is none.

    Args:
        clients: Google's clients.
        image: The image, not released yet.
        family: To be released to; empty for none.
        recorded: Its contents, if they are at hand.
        on_missing: Called with the reason if the family's current image cannot be compared with.

    Returns:
        What has changed; None if the contents of one of them are not recorded.

    Raises:
        CustomizerError: What is recorded could not be fetched.
    """
    current = image_from_family(clients, image.project, family) if family else None
    try:
        contents = recorded or contents_of(clients, image)
        if current is None or current.id == image.id:
            return compare_with_source(clients, image, contents)
        before = contents_of(clients, current)
    except NotFoundError as error:
        on_missing(error.message)
        return None
    return Compared(side(current, "current", family), side(image), difference(before.after, contents.after))


def side(image: ResolvedImage, role: Role = "image", family: str = "") -> Side:
    """An image as one of two that are compared."""
    return Side(image.project, image.name, image.id, role, family)
