"""Images as tasks: found, made, released, deprecated, deleted."""

from datetime import date
from typing import Any

from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import ImageRef
from cos_customizer.customizer.spec.model import SourceImage
from cos_customizer.gcp import deprecation, images, release, succession
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.tasks.operation import operation


@operation("resolve source image")
def resolve_source(source: SourceImage) -> ResolvedImage:
    """Find the source image; see `gcp.images.resolve_source`."""
    return images.resolve_source(clients(), source)


@operation("look for {image.project}/{image.name}")
def find_image(image: ImageRef) -> ResolvedImage | None:
    """Look whether the output image exists; see `gcp.images.find_image`."""
    return images.find_image(clients(), image)


@operation("wait for {image.name}")
def wait_until_ready(image: ResolvedImage) -> ResolvedImage:
    """Wait for an image that another build makes; see `gcp.images.wait_until_ready`."""
    return images.wait_until_ready(clients(), image)


@operation("create image {body[name]}")
def create_image(project: str, body: dict[str, Any], build: BuildNames, force: bool) -> ResolvedImage:
    """Make the output image of the builder VM's disk; see `gcp.images.insert_image`."""
    return images.insert_image(clients(), project, body, build, force)


@operation("release {image.name}")
def release_image(image: ResolvedImage, family: str, labels: dict[str, str], build: BuildNames) -> ResolvedImage:
    """Put a verified image into its family; see `gcp.release.release`."""
    return release.release(clients(), image, family, labels, build)


@operation("label {image.name}")
def label_image(image: ResolvedImage, labels: dict[str, str]) -> ResolvedImage:
    """Give an image these labels and no others; see `gcp.release.set_labels`."""
    return release.set_labels(clients(), image, labels)


@operation("delete image {image.name}", always=True)
def delete_unfinished(image: ImageRef, owner: BuildNames) -> list[Removal]:
    """Delete an image that the build `owner` has left unfinished; see `gcp.images.delete_unfinished_image`."""
    return images.delete_unfinished_image(clients(), image, owner)


@operation("deprecate old images of {family}")
def deprecate_old_images(family: str, new_image: ResolvedImage, body: dict[str, Any], build: BuildNames) -> list[str]:
    """Deprecate the images that a new one of their family replaces; see `gcp.deprecation.deprecate_older`."""
    return deprecation.deprecate_older(clients(), family, new_image, body, build)


@operation("look for what replaces {base}")
def name_of_successor(project: str, base: str, recipe: str, day: date) -> str:
    """Find out the name of the image that is to replace another; see `gcp.succession.name_of_successor`."""
    return succession.name_of_successor(clients(), project, base, recipe, day)


@operation("replace {base} by {new_image.name}")
def replace_older(base: str, new_image: ResolvedImage, body: dict[str, Any], build: BuildNames) -> succession.Replaced:
    """Deprecate the images that a new one of their series replaces; see `gcp.succession.replace_older`."""
    return succession.replace_older(clients(), base, new_image, body, build)
