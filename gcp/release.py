"""Releasing an image that was verified, and labelling one that was not.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/images/patch,
https://cloud.google.com/compute/docs/reference/rest/v1/images/setLabels.
"""

from collections.abc import Mapping

from google.cloud import compute_v1

from cos_customizer.customizer.errors import ConflictError, NotFoundError
from cos_customizer.customizer.names import UNRELEASED, BuildNames
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import ResolvedImage, find_image, message

_TRIES = 3
"""How often an image's labels are set anew when others change them at the same time."""


def set_labels(clients: Clients, image: ResolvedImage, labels: Mapping[str, str]) -> ResolvedImage:
    """Give an image these labels and no others.

    The API takes no request id here: of a call that was repeated because its answer was lost, the labels tell.

    Args:
        clients: Google's clients.
        image: as it was last seen; if its labels have changed since, they are left alone.
        labels: to be.

    Returns:
        The image as it is now.

    Raises:
        ConflictError: somebody else has changed the labels.
        CustomizerError: they could not be set.
    """
    doing = f"label image {image.project}/{image.name}"
    body = {"labels": dict(labels), "labelFingerprint": image.label_fingerprint}
    request = compute_v1.SetLabelsImageRequest(
        project=image.project,
        resource=image.by_id.name,
        global_set_labels_request_resource=message(compute_v1.GlobalSetLabelsRequest, body),
    )
    try:
        operation = calls.call(clients.images.set_labels_unary, request, doing)
        calls.wait(clients, operation, doing)
    except ConflictError:
        now = _read(clients, image)
        if now.labels != labels:
            raise
        return now
    return _read(clients, image)


def _read(clients: Clients, image: ResolvedImage) -> ResolvedImage:
    """The image as it is now."""
    now = find_image(clients, image.by_id)
    if now is None:
        raise NotFoundError(f"image {image.project}/{image.name} is gone: somebody else has deleted it")
    return now


def release(
    clients: Clients, image: ResolvedImage, family: str, labels: Mapping[str, str], build: BuildNames
) -> ResolvedImage:
    """Put an image that was verified into its family, and take the labels off that say that it was not.

    The family first: whoever finds an image that is in its family knows that it was verified, whatever its labels say.
    Another build of the same recipe may have taken the image up meanwhile, and have changed its labels, or released it.

    Args:
        clients: Google's clients.
        image: as it was last seen.
        family: to be in; empty for none.
        labels: to have, and no others.
        build: the build's names.

    Returns:
        The image as it is now.

    Raises:
        CustomizerError: it could not be released.
    """
    if family and image.family != family:
        doing = f"put image {image.project}/{image.name} into family {family}"
        request = compute_v1.PatchImageRequest(
            project=image.project,
            image=image.by_id.name,
            image_resource=message(compute_v1.Image, {"family": family}),
            request_id=build.request_id("images.patch", image.project, image.name, family),
        )
        operation = calls.call(clients.images.patch_unary, request, doing)
        calls.wait(clients, operation, doing)
    tries = 0
    while True:
        now, tries = _read(clients, image), tries + 1
        if now.state != UNRELEASED:
            return now
        try:
            return set_labels(clients, now, labels)
        except ConflictError:
            if tries == _TRIES:
                raise
