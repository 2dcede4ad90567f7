"""Deprecating the images that a new one of their family replaces."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.cloud import compute_v1

from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.names import BuildNames
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import ResolvedImage, find_image, list_images, message


def deprecate_older(
    clients: Clients, family: str, new_image: ResolvedImage, body: dict[str, Any], build: BuildNames
) -> list[str]:
    """Deprecate the images that a new one of their family replaces: those without a deprecation status that are older.

    An image newer than ours is left alone: of two builds that race, the later image stays.

    Args:
        clients: Google's clients.
        family: Its name.
        new_image: The image that replaces them.
        body: Of `images.deprecate`.
        build: The build's names.

    Returns:
        Names of those that were deprecated: one that is gone meanwhile is not missed, nor is one that others have
        deprecated or taken out of the family.

    Raises:
        CustomizerError: Some could not be deprecated; the others are all the same.
    """
    project, name = new_image.project, new_image.name
    # The server's filter is not trusted: what it returns is looked at again.
    found = list_images(clients, project, f"(family = {family}) (name != {name})")

    def replaced(image: ResolvedImage) -> bool:
        return image.family == family and not image.deprecation and image.age < new_image.age

    older = [image for image in found if image.id != new_image.id and replaced(image)]
    return deprecate(Replacement(clients, family, new_image, body, build, replaced), older)


def begin(
    clients: Clients, project: str, image: str, body: dict[str, Any], request_id: str, doing: str
) -> compute_v1.Operation:
    """Begin to change an image's deprecation; the operation to wait for.

    Args:
        clients: Google's clients.
        project: of the image.
        image: its name or id.
        body: of `images.deprecate`; empty clears the deprecation with all dates.
        request_id: a UUID.
        doing: what is being done, for error messages.
    """
    request = compute_v1.DeprecateImageRequest(
        project=project,
        image=image,
        deprecation_status_resource=message(compute_v1.DeprecationStatus, body),
        request_id=request_id,
    )
    operation: compute_v1.Operation = calls.call(clients.images.deprecate_unary, request, doing)
    return operation


@dataclass(frozen=True)
class Replacement:
    """A new image takes the place of others.

    Attributes:
        clients: Google's clients.
        family: That the new image has to be in all the time; empty for none.
        new_image: The image that replaces them.
        body: Of `images.deprecate`.
        build: The build's names.
        replaced: Which images it replaces, as they are now.
    """

    clients: Clients
    family: str
    new_image: ResolvedImage
    body: dict[str, Any]
    build: BuildNames
    replaced: Callable[[ResolvedImage], bool]

    def begin(self, image: ResolvedImage, doing: str) -> compute_v1.Operation | None:
        """Begin to deprecate an image, by its id, if it is still to be: None if not.

        That is so as long as the family has the new image: else it could be left without any.
        """
        now = find_image(self.clients, image.by_id)
        new = find_image(self.clients, self.new_image.by_id)
        if now is None or not self.replaced(now):
            return None
        if new is None or new.family != self.family or new.deprecation:
            return None
        request_id = self.build.request_id("images.deprecate", image.project, image.id or image.name)
        return begin(self.clients, image.project, image.by_id.name, self.body, request_id, doing)


def deprecate(replacement: Replacement, images: list[ResolvedImage]) -> list[str]:
    """Deprecate images, all at once.

    Args:
        replacement: What takes their place.
        images: As they were last seen; each is looked at again.

    Returns:
        See `deprecate_older`, for errors too.
    """
    failures: list[CustomizerError] = []
    started = []
    for image in images:
        doing = f"deprecate image {image.project}/{image.name}"
        with _noting(failures):
            operation = replacement.begin(image, doing)
            if operation is not None:
                started.append((image.name, operation, doing))
    done = []
    for name, operation, doing in started:
        with _noting(failures):
            calls.wait(replacement.clients, operation, doing)
            done.append(name)
    if failures:
        raise CustomizerError("; ".join(failure.message for failure in failures), failures[0].hint) from failures[0]
    return done


@contextmanager
def _noting(failures: list[CustomizerError]) -> Iterator[None]:
    """Let what fails in the body stop no other; that something is gone is no failure."""
    try:
        yield
    except NotFoundError:
        pass
    except CustomizerError as error:
        failures.append(error)
