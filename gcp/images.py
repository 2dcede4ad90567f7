"""Images: finding the source, making the output."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.cloud import compute_v1

from cos_customizer.customizer import deadline, missing_images, names
from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.fields import Message
from cos_customizer.customizer.names import STATE_LABEL, BuildNames
from cos_customizer.customizer.references import ImageRef
from cos_customizer.customizer.spec.model import SourceImage
from cos_customizer.customizer.spec.options import SOURCE_FAMILY
from cos_customizer.gcp import calls, contents_removal, deletion, in_flight
from cos_customizer.gcp.clients import Clients


@dataclass(frozen=True)
class ResolvedImage:
    """An image that exists.

    Attributes:
        id: numeric id, as text; another image of the same name has another.
        architecture: `X86_64` or `ARM64`.
        status: `PENDING`, `READY`, `FAILED` or `DELETING`.
        deprecation: `DEPRECATED`, `OBSOLETE`, `DELETED`, or empty for an active image.
        deleted: RFC 3339 time from which its deprecation counts it as deleted; empty for none.
        created: RFC 3339 time of its creation.
        label_fingerprint: of its labels, which changing them takes.
    """

    project: str
    name: str
    id: str = ""
    self_link: str = ""
    description: str = ""
    family: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    disk_size_gb: int = 0
    archive_size_bytes: int = 0
    architecture: str = "X86_64"
    status: str = "READY"
    deprecation: str = ""
    deleted: str = ""
    created: str = ""
    label_fingerprint: str = ""

    @property
    def ref(self) -> ImageRef:
        """What names it."""
        return ImageRef(self.project, self.name)

    @property
    def by_id(self) -> ImageRef:
        """What names it, and no other image that may get its name: its id in the name's place."""
        return ImageRef(self.project, self.id or self.name)

    @property
    def path(self) -> str:
        """`projects/{project}/global/images/{image}`."""
        return self.ref.path

    @property
    def age(self) -> tuple[datetime, int]:
        """Sorts images by age, oldest first; two of the same moment by id."""
        return datetime.fromisoformat(self.created or "0001-01-01T00:00:00Z"), int(self.id or 0)

    @property
    def state(self) -> str:
        """`unreleased`, `failed`, or empty: the image is what it seems."""
        return self.labels.get(STATE_LABEL, "")

    @property
    def provenance(self) -> Provenance | None:
        """Where it comes from; None if this tool has not made it."""
        return Provenance.parse(self.description)

    @property
    def recorded_contents(self) -> str:
        """`gs://` URL of the object that tells what is in it; empty if that is not recorded."""
        recorded = self.provenance.recorded_contents if self.provenance else None
        return recorded.url if recorded else ""

    def made_by(self, build: BuildNames) -> bool:
        """Whether this build, and no other, has made it."""
        return self.provenance is not None and self.provenance.build == build.id


def _resolved(project: str, image: compute_v1.Image) -> ResolvedImage:
    parsed = names.parse_cos_image_name(image.name)
    by_name = "ARM64" if parsed and parsed.arm64 else "X86_64"
    state = image.deprecated.state
    return ResolvedImage(
        project=project,
        name=image.name,
        id=str(image.id or ""),
        self_link=image.self_link,
        description=image.description,
        family=image.family,
        labels=dict(image.labels),
        disk_size_gb=int(image.disk_size_gb),
        archive_size_bytes=int(image.archive_size_bytes),
        architecture=image.architecture or by_name,
        status=image.status or "READY",
        deprecation="" if state in ("", "ACTIVE") else state,
        deleted=image.deprecated.deleted,
        created=image.creation_timestamp,
        label_fingerprint=image.label_fingerprint,
    )


def find_image(clients: Clients, image: ImageRef) -> ResolvedImage | None:
    """An image by name, or None if there is none.

    Args:
        clients: Google's clients.
        image: The image.

    Raises:
        CustomizerError: The API does not say.
    """
    request = compute_v1.GetImageRequest(project=image.project, image=image.name)
    doing = f"read image {image.project}/{image.name}"
    try:
        return _resolved(image.project, calls.call(clients.images.get, request, doing))
    except NotFoundError:
        return None


def image_from_family(clients: Clients, project: str, family: str) -> ResolvedImage | None:
    """The current image of a family: the newest one that is not deprecated; None if there is none.

    Args:
        clients: Google's clients.
        project: The family's project.
        family: Its name.

    Raises:
        CustomizerError: The API does not say.
    """
    request = compute_v1.GetFromFamilyImageRequest(project=project, family=family)
    doing = f"read image family {project}/{family}"
    try:
        return _resolved(project, calls.call(clients.images.get_from_family, request, doing))
    except NotFoundError:
        return None


def resolve_source(clients: Clients, source: SourceImage) -> ResolvedImage:
    """Find the source image by name, milestone or family.

    Args:
        clients: Google's clients.
        source: what to look for.

    Raises:
        NotFoundError: there is none; the hint names images or a way to list them.
        CustomizerError: it is there and cannot be used, or the API does not say.
    """
    if source.milestone is not None:
        image = _on_milestone(clients, source)
    elif source.family is not None:
        image = _from_family(clients, source.project, source.family)
    else:
        assert source.name is not None
        found = find_image(clients, ImageRef(source.project, source.name))
        if found is None:
            there = {image.name for image in _all_images(clients, source.project)}
            raise missing_images.no_such_image(source.project, source.name, there)
        image = found
    if image.deprecation in ("OBSOLETE", "DELETED"):
        raise CustomizerError(
            f"source image {image.project}/{image.name} is {image.deprecation.lower()}: no disk can be made from it",
            Message("choose a newer one; {} takes the newest of a family.", SOURCE_FAMILY),
        )
    if image.status != "READY":
        raise CustomizerError(f"source image {image.project}/{image.name} is not ready: its status is {image.status}")
    return image


def _from_family(clients: Clients, project: str, family: str) -> ResolvedImage:
    image = image_from_family(clients, project, family)
    if image is None:
        families = {image.family for image in _all_images(clients, project)} - {""}
        raise missing_images.no_such_family(project, family, families)
    return image


def _all_images(clients: Clients, project: str) -> list[ResolvedImage]:
    """All images of a project that offers a source image.

    Raises:
        NotFoundError: there are none.
    """
    try:
        images, why = list_images(clients, project), ""
    except CustomizerError as error:
        images, why = [], error.message
    if not images:
        raise missing_images.no_image_at_all(project, why)
    return images


def _on_milestone(clients: Clients, source: SourceImage) -> ResolvedImage:
    assert source.milestone is not None
    candidates = {
        image.name: image
        for image in list_images(clients, source.project)
        if image.deprecation not in ("OBSOLETE", "DELETED") and image.architecture == source.architecture
    }
    name = names.newest_on_milestone(candidates, source.milestone)
    if name is None:
        if not candidates:
            _all_images(clients, source.project)
        raise NotFoundError(
            f"no {source.architecture.lower()} image found on milestone {source.milestone} in {source.project}",
            missing_images.listing_hint(source.project),
        )
    return candidates[name]


def list_images(clients: Clients, project: str, expression: str = "") -> list[ResolvedImage]:
    """A project's images, five hundred for a call.

    Args:
        clients: Google's clients.
        project: of the images.
        expression: the API's filter.

    Raises:
        CustomizerError: the API does not say.
    """
    request = compute_v1.ListImagesRequest(project=project, filter=expression, max_results=500)
    found = calls.listed(clients.images.list, request, f"list the images of {project}")
    return [_resolved(project, image) for image in found]


def wait_until_ready(clients: Clients, image: ResolvedImage, interval: float = 2.0) -> ResolvedImage:
    """Wait for an image that somebody else is making.

    Args:
        clients: Google's clients.
        image: as it was last seen.
        interval: seconds between two looks.

    Raises:
        CustomizerError: it has failed, or is gone.
    """
    while image.status == "PENDING":
        deadline.pause(interval)
        again = find_image(clients, image.ref)
        if again is None:
            raise NotFoundError(
                f"image {image.project}/{image.name} was being made and is gone", "start the build again."
            )
        image = again
    if image.status != "READY":
        raise CustomizerError(
            f"image {image.project}/{image.name} exists with status {image.status}",
            f"delete it (`gcloud compute images delete {image.name} --project={image.project}`) and build again.",
        )
    return image


def insert_image(
    clients: Clients, project: str, body: dict[str, Any], build: BuildNames, force: bool = False
) -> ResolvedImage:
    """Make an image of the builder VM's disk and wait until it is ready.

    Args:
        clients: Google's clients.
        project: of the image.
        body: of `images.insert`.
        build: the build's names.
        force: make it although the disk is attached to a running VM (`forceCreate`).

    Raises:
        AlreadyExistsError: another image has the name.
        CustomizerError: the image could not be made.
    """
    name = body["name"]
    doing = f"create image {project}/{name}"
    request = compute_v1.InsertImageRequest(
        project=project,
        image_resource=message(compute_v1.Image, body),
        force_create=force,
        request_id=build.request_id("images.insert", project, name),
    )
    ref = ImageRef(project, name)
    calls.wait(clients, calls.send(clients.images.insert_unary, request, doing, ref), doing)
    image = find_image(clients, ref)
    if image is None or image.status == "FAILED":
        raise CustomizerError(f"could not {doing}: Compute Engine reports the image as failed")
    return wait_until_ready(clients, image)


def is_unfinished(image: ResolvedImage) -> bool:
    """Whether an image is still being made, has failed, or was not released.

    An image that is in its family was verified, whatever its labels say: somebody may have got it.
    """
    return image.status != "READY" or (image.state == names.UNRELEASED and not image.family)


def delete_unfinished_image(clients: Clients, image: ImageRef, build: BuildNames) -> list[Removal]:
    """Delete an image if this build, and no other, has begun it and nobody has finished it.

    Args:
        clients: Google's clients.
        image: The image.
        build: The build that may have begun it.

    Returns:
        What came of it; nothing if there is no such image.

    Raises:
        CustomizerError: The API does not say.
    """

    def unfinished(found: ResolvedImage) -> bool:
        return found.made_by(build) and is_unfinished(found)

    def delete() -> list[Removal]:
        found = find_image(clients, image)
        return _delete_unfinished(clients, [found] if found and unfinished(found) else [], unfinished)

    return in_flight.take_back(image, Removal("image", "", image.name, "delete", "unfinished"), delete)


def delete_unfinished_images(clients: Clients, project: str, build: BuildNames) -> list[Removal]:
    """Delete the images that a build has begun and not finished, whatever they are called.

    Args:
        clients: Google's clients.
        project: Of the images.
        build: The build, which need not have come to know its image's name.

    Returns:
        What came of each.

    Raises:
        CustomizerError: The API does not say.
    """

    def unfinished(image: ResolvedImage) -> bool:
        return image.made_by(build) and is_unfinished(image)

    return _delete_unfinished(
        clients, [image for image in list_images(clients, project) if unfinished(image)], unfinished
    )


def _delete_unfinished(
    clients: Clients, found: list[ResolvedImage], unfinished: Callable[[ResolvedImage], bool]
) -> list[Removal]:
    """Delete images by their ids; each is looked at again right before, for another build may have released it.

    What is recorded of them goes with them.
    """

    def deletion_of(image: ResolvedImage) -> deletion.Deletion:
        removal = Removal("image", image.family, image.name, "delete", "unfinished")

        def judge() -> Removal:
            now = find_image(clients, image.by_id)
            if now is None:
                return removal.ended("gone", "somebody else has deleted it")
            return removal if unfinished(now) else removal.ended("keep", "somebody has finished it")

        return deletion.image(clients, image.by_id, removal, judge)

    removals = deletion.delete_all(clients, [deletion_of(image) for image in found], deletion.BUSY_PATIENCE)
    gone = [image.provenance for image, removal in zip(found, removals, strict=True) if removal.action == "deleted"]
    for provenance in filter(None, gone):
        removals += contents_removal.discard(clients, provenance.recorded_contents, provenance.build)
    return removals


def message(kind: Any, body: dict[str, Any]) -> Any:
    """A request body as a message of google-cloud-compute; a field that the API does not know is refused.

    Args:
        kind: the message class.
        body: in the API's JSON form.
    """
    return kind.from_json(json.dumps(body))
