"""Images as people name them on a command line: by name, by family, or by what Compute Engine writes."""

from dataclasses import dataclass

from cos_customizer.customizer import names
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.references import Link


@dataclass(frozen=True)
class WantedImage:
    """An image that somebody has named.

    Attributes:
        project: Its project.
        name: Its name or numeric id; empty if a family is named.
        family: The family whose current image it is; empty if it is named itself.
    """

    project: str
    name: str = ""
    family: str = ""


def wanted_image(text: str, project: str) -> WantedImage:
    """Read an image's name.

    Args:
        text: `NAME`, `family/NAME`; either of them behind `PROJECT/`; or a path or URL of Compute Engine.
        project: Where the text names none; empty if there is none to take.

    Raises:
        UsageError: It names no image, or no project is known.
    """
    link = Link.parse(text)
    if link is not None and link.kind == "images":
        found = WantedImage(link.project or project, name=link.name)
    elif link is not None and link.kind == "families":
        found = WantedImage(link.project or project, family=link.name)
    else:
        found = _in_short(text, project)
    if not found.project:
        raise UsageError(
            f"no project is known of image {text!r}",
            Message("{} names it; or write it before the image: PROJECT/NAME.", FieldPath("project")),
        )
    return found


def _in_short(text: str, project: str) -> WantedImage:
    *before, name = text.split("/")
    by_family = before[-1:] == ["family"]
    owners = before[:-1] if by_family else before
    try:
        names.check_resource_name(name)
        if len(owners) > 1:
            raise ValueError("too many slashes")
        owner = names.check_project(owners[0]) if owners else project
    except ValueError as error:
        raise UsageError(
            f"{text!r} names no image: {error}", "write NAME, family/NAME, PROJECT/NAME or PROJECT/family/NAME."
        ) from None
    return WantedImage(owner, family=name) if by_family else WantedImage(owner, name=name)
