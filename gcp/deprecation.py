"""Deprecating the images that a new one of their family replaces."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.cloud import compute_v1

from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.names import BuildNames
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import ResolvedImage, list_images, message


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
        Names of those that were deprecated: one that is gone meanwhile is not missed.

    Raises:
        CustomizerError: Some could not be deprecated; the others are all the same.
    """
    project, name = new_image.project, new_image.name
    # The server's filter is not trusted: what it returns is looked at again.
    found = list_images(clients, project, f"(family = {family}) (name != {name})")
    others = [image for image in found if image.family == family and image.name != name and not image.deprecation]
    older = [image.name for image in others if image.age < new_image.age]
    return _deprecate(clients, project, older, body, build)


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


def _deprecate(clients: Clients, project: str, images: list[str], body: dict[str, Any], build: BuildNames) -> list[str]:
    """Deprecate images, all at once; arguments and errors as `deprecate_older`."""
    failures: list[CustomizerError] = []
    started = []
    for name in images:
        request_id = build.request_id("images.deprecate", project, name)
        doing = f"deprecate image {project}/{name}"
        with _noting(failures):
            started.append((name, begin(clients, project, name, body, request_id, doing), doing))
    done = []
    for name, operation, doing in started:
        with _noting(failures):
            calls.wait(clients, operation, doing)
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
