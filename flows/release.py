"""From an image that was made to one that people get: verified, put into its family, older ones deprecated."""

import time
from collections import Counter
from collections.abc import Callable

from cos_customizer.customizer.errors import BuildFailedError, ConflictError, CustomizerError, NotFoundError
from cos_customizer.customizer.names import (
    BUILD_LABEL,
    EXPIRY_LABEL,
    FAILED,
    STATE_LABEL,
    TEMPORARY_LABELS,
    UNRELEASED,
    BuildNames,
)
from cos_customizer.customizer.reporting.events import Note
from cos_customizer.flows.guest_vm import GuestVm
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import Undoing
from cos_customizer.gcp import images, request_bodies
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.tasks import images as image_tasks
from cos_customizer.tasks.operation import clients
from cos_customizer.tasks.reporting import report


def look_for_output(record: Record, name: str) -> ResolvedImage | None:
    """The output image, if it is there already; one that another build makes is waited for.

    Args:
        record: notes on the build.
        name: of the output image.

    Raises:
        CustomizerError: it is there, and will never be of use.
    """
    existing = image_tasks.find_output(record.spec.output.project, name)
    if existing is not None and existing.status != "READY":
        if existing.status == "PENDING":
            report(Note("image", f"{existing.path} is being made by another build; waiting for it"))
        existing = image_tasks.wait_until_ready(existing)
    if existing is not None and existing.state == FAILED:
        raise CustomizerError(
            f"image {existing.project}/{existing.name} exists, has failed its verification and was kept",
            "look at it and delete it, or choose another name.",
        )
    return existing


def take_up(record: Record, image: ResolvedImage, recipe: str) -> ResolvedImage | None:
    """An image that a former build has left unreleased, if this one may release it.

    Args:
        record: notes on the build.
        image: in the state `unreleased`.
        recipe: fingerprint of this build's recipe.

    Returns:
        The image, to be verified and released, or released already; None if it was too old, and is deleted.

    Raises:
        ConflictError: it was made by another recipe, and its build may still be at work.
    """
    provenance = image.provenance
    same_recipe = provenance is not None and provenance.recipe == recipe
    if image.family and not (same_recipe and image.family == record.spec.output.family):
        labels = {key: value for key, value in image.labels.items() if key not in TEMPORARY_LABELS}
        return image_tasks.release_image(image, image.family, labels, record.build)  # as its own build would have
    if image.family:
        report(Note("image", f"{image.path} was verified by a build that has not ended; releasing it"))
        return image
    if same_recipe:
        report(Note("image", f"{image.path} exists and was never released; verifying it"))
        # Its time starts anew, or a sweep might delete it under our hands.
        later = int(request_bodies.expiry(record.spec.timeout_seconds, time.time()))
        try:
            return image_tasks.label_image(image, {**image.labels, EXPIRY_LABEL: str(later)})
        except (ConflictError, NotFoundError):  # its own build was not dead, and has released or deleted it
            again = look_for_output(record, image.name)
            if again is not None and is_unreleased(again):
                raise
            return again
    expires = image.labels.get(EXPIRY_LABEL, "")
    if provenance is not None and expires.isdecimal() and int(expires) < time.time():
        report(Note("image", f"{image.path} exists, was never released and has expired; making it anew"))
        image_tasks.delete_image(image.project, image.name, BuildNames(provenance.build))
        return None
    raise ConflictError(
        f"image {image.project}/{image.name} exists, was never released, and was not made by this recipe",
        "another build may be verifying it: wait for that, choose another name, or delete the image.",
    )


def verify(
    record: Record, undoing: Undoing, image: ResolvedImage, zones: list[str], plan: str, keep: Callable[[], None]
) -> None:
    """Boot a test VM from the image, and run the scripts that verify it.

    Args:
        record: notes on the build.
        undoing: of the build.
        image: to verify.
        zones: to test in.
        plan: the test VM's user-data.
        keep: says that the image is to stay when the build ends.

    Raises:
        BuildFailedError: the image does not boot, or a script has failed. The image is left to undoing, or kept and
            labelled, as the specification says.
        CustomizerError: the image could not be tried.
    """
    spec, build = record.spec, record.build
    vm = GuestVm(record, undoing.part(), "verify", [script.label for script in spec.verify.scripts])
    first = [record.zone] if record.zone in zones else []
    zone = vm.create(
        [*first, *(zone for zone in zones if zone not in first)],
        lambda zone: request_bodies.test_vm(spec, build, zone, image.path, image.architecture, plan, time.time()),
    )
    record.zone = record.zone or zone
    try:
        vm.follow(zone)
    except BuildFailedError as error:
        vm.undoing.run()
        kept = spec.verify.keep_failed_image and _keep_failed(record, image, keep)
        if not kept:
            _discard(undoing, image)
        what = f"it is kept in no family, labelled {STATE_LABEL}={FAILED}" if kept else "it is deleted"
        message = f"image {image.name} is not released, {what}: {error.message}"
        raise BuildFailedError(message, error.hint, error.output) from error
    report(Note("verified", f"{image.name} boots" + (" and passes" if vm.labels else "")))


def _keep_failed(record: Record, image: ResolvedImage, keep: Callable[[], None]) -> bool:
    labels = {**_released_labels(record), STATE_LABEL: FAILED, BUILD_LABEL: record.build.id}
    try:
        image_tasks.label_image(image, labels)
    except CustomizerError as error:
        report(Note("image", error.message, "warning"))
        return False
    keep()
    return True


def _discard(undoing: Undoing, image: ResolvedImage) -> None:
    """Let an image that has failed go when the build ends, also one that a former build has made."""
    owner = BuildNames(image.provenance.build if image.provenance else "")
    undoing.add(
        f"failed image {image.project}/{image.name}",
        lambda: Counter(image=int(images.delete_unfinished_image(clients(), image.project, image.name, owner))),
    )


def release(record: Record, image: ResolvedImage) -> ResolvedImage:
    """Put the image into its family, with the labels that were asked for and no others.

    Args:
        record: notes on the build.
        image: that was verified.

    Returns:
        The image as it is now.

    Raises:
        CustomizerError: it could not be released.
    """
    family = record.spec.output.family or ""
    try:
        released = image_tasks.release_image(image, family, _released_labels(record), record.build)
    except CustomizerError as error:
        raise CustomizerError(
            f"image {image.name} is verified, but its release is not complete: {error.message}",
            error.hint or "start the build again when the cause is gone.",
        ) from error
    report(Note("released", f"{image.name} to family {family}" if family else image.name))
    return released


def _released_labels(record: Record) -> dict[str, str]:
    assert record.source
    return request_bodies.image_labels(record.spec.output, record.source.labels)


def is_unreleased(image: ResolvedImage) -> bool:
    """Whether an image is none that people should get, or was not when its build ended."""
    return image.state == UNRELEASED


def deprecate_old_images(record: Record, image: ResolvedImage) -> None:
    """Deprecate the family's older images, if the specification says so.

    Args:
        record: notes on the build; takes the names of what was deprecated.
        image: the new one.

    Raises:
        CustomizerError: one could not be deprecated.
    """
    output = record.spec.output
    if not output.deprecate_old_images or not output.family:
        return
    body = request_bodies.deprecation(image.path, output.old_image_ttl, time.time())
    try:
        record.deprecated = image_tasks.deprecate_old_images(output.family, image, body, record.build)
    except CustomizerError as error:
        raise CustomizerError(
            f"image {image.name} is made, but its family's older images are not all deprecated: {error.message}",
            f"`gcloud compute images deprecate OLD --state=DEPRECATED --replacement={image.name}` does it by hand.",
        ) from error
    report(Note("deprecated", ", ".join(record.deprecated) or f"no older image in family {output.family}"))
