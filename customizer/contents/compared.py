"""Two images, and what they differ in: what is told of it, in whatever form."""

from dataclasses import dataclass
from typing import Literal

from cos_customizer.customizer.contents.difference import Difference

Role = Literal["image", "current", "source"]
"""Why an image is compared with: it was asked for; it is what the family gives; the other image was made from it."""


@dataclass(frozen=True)
class Side:
    """One of two images.

    Attributes:
        project: Its project.
        name: Its name.
        id: Its numeric id; empty if it is not known.
        role: What it has to do with the other one.
        family: The family that it is looked up by; empty if by none.
    """

    project: str
    name: str
    id: str = ""
    role: Role = "image"
    family: str = ""

    @property
    def path(self) -> str:
        """`project/image`; the name alone where the project is not known."""
        return f"{self.project}/{self.name}" if self.project else self.name

    @property
    def in_words(self) -> str:
        """It, and why it: `my-project/web-1, the current image of family web`."""
        if self.role == "current":
            return f"{self.path}, the current image of family {self.family}"
        return f"{self.path}, the source image" if self.role == "source" else self.path


@dataclass(frozen=True)
class Compared:
    """What two images differ in.

    Attributes:
        before: The image that is compared with.
        after: The image that is compared.
        difference: How to come from the one to the other.
    """

    before: Side
    after: Side
    difference: Difference
