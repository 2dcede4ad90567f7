"""Images as tasks: found, made, deprecated."""

from typing import Any

from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.spec import SourceImage
from cos_customizer.gcp import images
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.tasks.operation import clients, operation


@operation("resolve source image")
def resolve_source(source: SourceImage) -> ResolvedImage:
    """Find the source image; see `gcp.images.resolve_source`."""
    return images.resolve_source(clients(), source)


@operation("look for {project}/{name}")
def find_output(project: str, name: str) -> ResolvedImage | None:
    """Look whether the output image exists; see `gcp.images.find_image`."""
    return images.find_image(clients(), project, name)


@operation("wait for {image.name}")
def wait_until_ready(image: ResolvedImage) -> ResolvedImage:
    """Wait for an image that another build makes; see `gcp.images.wait_until_ready`."""
    return images.wait_until_ready(clients(), image)


@operation("create image {body[name]}")
def create_image(project: str, body: dict[str, Any], build: BuildNames, force: bool) -> ResolvedImage:
    """Make the output image of the builder VM's disk; see `gcp.images.insert_image`."""
    return images.insert_image(clients(), project, body, build, force)


@operation("deprecate old images of {family}")
def deprecate_old_images(
    project: str, family: str, new_image: str, body: dict[str, Any], build: BuildNames
) -> list[str]:
    """Deprecate the family's other images.

    Args:
        project: of the family.
        family: its name.
        new_image: name of the image that replaces them.
        body: of `images.deprecate`.
        build: the build's names.

    Returns:
        Names of the images that were deprecated.
    """
    old = images.images_to_deprecate(clients(), project, family, new_image)
    images.deprecate(clients(), project, old, body, build)
    return old
