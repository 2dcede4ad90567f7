"""What identifies a resource in Google Cloud: what a call needs to find it, and nothing about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VmRef:
    """A VM, and its boot disk, which has the same name.

    Attributes:
        project: Its project.
        zone: Its zone.
        name: Its name, or its numeric id where the API takes one in a name's place.
    """

    project: str
    zone: str
    name: str


@dataclass(frozen=True)
class ImageRef:
    """An image.

    Attributes:
        project: Its project.
        name: Its name, or its numeric id where the API takes one in a name's place.
    """

    project: str
    name: str

    @property
    def path(self) -> str:
        """`projects/{project}/global/images/{image}`, as request bodies name an image."""
        return f"projects/{self.project}/global/images/{self.name}"


@dataclass(frozen=True)
class ObjectRef:
    """An object in Cloud Storage.

    Attributes:
        bucket: The bucket's name, without gs://.
        name: The object's name.
    """

    bucket: str
    name: str

    @property
    def url(self) -> str:
        """`gs://{bucket}/{object}`."""
        return f"gs://{self.bucket}/{self.name}"
