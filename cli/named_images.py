"""Commands that look at images by name: the project that a name without one is in."""

import os
from typing import TYPE_CHECKING

from cos_customizer.cli.flag import Flag

if TYPE_CHECKING:
    from cos_customizer.customizer.contents.image_names import WantedImage

_VARIABLE = "CLOUDSDK_CORE_PROJECT"


def project_flag(whose: str) -> Flag:
    """The flag -project.

    Args:
        whose: project it is: `of the image, if it names none`.
    """
    return Flag(
        "project",
        f"Project {whose}. By default that of the environment variable {_VARIABLE}.",
        value="PROJECT",
        example="-project=my-project",
        field="project",
    )


def wanted(image: str, project: str | None) -> "WantedImage":
    """An image as a user has named it; see `customizer.contents.image_names.wanted_image`.

    Args:
        image: `NAME`, `family/NAME`, or either behind its project.
        project: the flag's value.

    Raises:
        UsageError: it cannot be right.
    """
    from cos_customizer.customizer.contents.image_names import wanted_image

    return wanted_image(image, project or os.environ.get(_VARIABLE, ""))
