"""What has changed in an output image, as tasks: compared with what its family gives, and stored."""

from cos_customizer.customizer.contents.compared import Compared
from cos_customizer.customizer.contents.inventory import Contents
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.gcp import comparison, images
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.tasks.operation import operation


@operation("look for the current image of {family}")
def find_current(project: str, family: str) -> ResolvedImage | None:
    """Find the image that a family gives; see `gcp.images.image_from_family`."""
    return images.image_from_family(clients(), project, family)


@operation("compare {image.name}")
def compare(
    image: ResolvedImage, family: str, recorded: Contents | None, target: ObjectRef, build: BuildNames, expires: float
) -> tuple[Compared, str]:
    """Compare an image that is to be released, and store the difference; see `gcp.comparison.compare_for_release`.

    Returns:
        The difference, and where it is stored; that it could not be stored is told, and no failure.
    """
    compared = comparison.compare_for_release(clients(), image, family, recorded)
    try:
        comparison.store(clients(), compared, target, build, expires)
    except CustomizerError as error:
        publish(Note("changes", error.message, "warning"))
        return compared, ""
    return compared, target.url
