"""Releasing an image that was verified, and labelling one that was not.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/images/patch,
https://cloud.google.com/compute/docs/reference/rest/v1/images/setLabels.
"""

from collections.abc import Mapping

from google.cloud import compute_v1

from cos_customizer.customizer.errors import NotFoundError
from cos_customizer.customizer.names import BuildNames
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import ResolvedImage, find_image, message


def set_labels(clients: Clients, image: ResolvedImage, labels: Mapping[str, str]) -> ResolvedImage:
    """Give an image these labels and no others.

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
        resource=image.name,
        global_set_labels_request_resource=message(compute_v1.GlobalSetLabelsRequest, body),
    )
    operation = calls.call(clients.images.set_labels_unary, request, doing)
    calls.wait_for_global_operation(clients, image.project, operation, doing)
    labelled = find_image(clients, image.project, image.name)
    if labelled is None:
        raise NotFoundError(f"image {image.project}/{image.name} was labelled and is gone")
    return labelled


def release(
    clients: Clients, image: ResolvedImage, family: str, labels: Mapping[str, str], build: BuildNames
) -> ResolvedImage:
    """Put an image that was verified into its family, and take the labels off that say that it was not.

    The family first: whoever finds an image that is in its family knows that it was verified, whatever its labels say.

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
            image=image.name,
            image_resource=message(compute_v1.Image, {"family": family}),
            request_id=build.request_id("images.patch", image.project, image.name, family),
        )
        operation = calls.call(clients.images.patch_unary, request, doing)
        calls.wait_for_global_operation(clients, image.project, operation, doing)
    return set_labels(clients, image, labels)
