"""What identifies a resource in Google Cloud: what a call needs to find it, and nothing about it.

Compute Engine writes one resource in many ways: `Link.parse` is the one place that reads them.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote


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


_PARENTS = ("global", "zones", "regions")
_KINDS = (
    *("images", "snapshots", "disks", "instances", "instanceTemplates", "machineImages", "licenses"),
    *("instantSnapshots", "networks", "subnetworks", "operations"),
)
_FAMILY_VIEWS = "imageFamilyViews"
_FAMILY = "family"
_HOST_AND_VERSION = re.compile(
    r"""\A(?:(?:[a-z][a-z0-9+.-]*:)?//)?    # https://, or // of a full resource name
        (?:[a-z0-9.-]+(?::[0-9]+)?/+)?      # any host: public, regional, private, mTLS, a proxy's
        (?:compute/+)?
        (?:[a-z]+_)?(?:v[0-9]+[a-z0-9]*|beta|alpha)/+  # v1, beta, alpha, staging_v1
    """,
    re.VERBOSE | re.IGNORECASE,
)
_HOST = re.compile(r"\A(?:[a-z][a-z0-9+.-]*:)?//[a-z0-9.-]+(?::[0-9]+)?/+", re.IGNORECASE)
_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?|[1-9][0-9]{0,19}")
_PROJECT_PART = re.compile(r"(?:[a-z0-9.-]+:)?[a-z0-9][-a-z0-9]*")


@dataclass(frozen=True)
class Link:
    """What a link to a resource of Compute Engine names: two links that name one thing are equal.

    That is so but for what no text tells: a project's number stands for its id, and a resource's number for its name.

    Attributes:
        project: Id or number of its project; empty for that of the resource which has the link.
        place: `global`, `zones/{zone}` or `regions/{region}`; empty if the link does not say.
        kind: Its collection: `images`, `disks`, …; `families` for whatever image a family gives.
        name: Its name or numeric id.
    """

    project: str
    place: str
    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "Link | None":
        """Read a link in any form that Compute Engine documents or takes.

        With and without scheme and host, whatever the host; with each version of the API; from `projects/`, from
        `global/`, `zones/` or `regions/`, or from the collection on; a full resource name
        (`//compute.googleapis.com/…`); an image's family (`family/`, `imageFamilyViews/`). Sources:
        https://cloud.google.com/compute/docs/reference/rest/v1/instances/insert (`sourceImage`),
        https://cloud.google.com/apis/design/resource_names#full_resource_name,
        https://cloud.google.com/compute/docs/reference/rest/v1/imageFamilyViews.

        Args:
            text: The link.

        Returns:
            What it names; None if it is no such link.
        """
        path = unquote(re.split(r"[?#]", text.strip(), maxsplit=1)[0])
        path = _HOST.sub("", _HOST_AND_VERSION.sub("", path))
        before, found, after = f"/{path}".partition("/projects/")
        if found and before.strip("/").count("/") <= 2:  # a host without its scheme
            path = f"projects/{after}"
        parts = [part for part in path.split("/") if part]
        return cls._of_parts(parts)

    @classmethod
    def _of_parts(cls, parts: list[str]) -> "Link | None":
        project = place = ""
        if parts[:1] == ["projects"] and len(parts) > 2:
            project, parts = parts[1], parts[2:]
        if parts[:1] == ["global"]:
            place, parts = "global", parts[1:]
        elif parts and parts[0] in _PARENTS and len(parts) > 2:
            place, parts = "/".join(parts[:2]), parts[2:]
        if len(parts) == 3 and parts[:2] == ["images", _FAMILY]:
            parts = parts[1:]
        if len(parts) != 2 or not _NAME.fullmatch(parts[1]) or (project and not _PROJECT_PART.fullmatch(project)):
            return None
        kind, name = parts
        if kind in (_FAMILY, _FAMILY_VIEWS):
            return cls(project, "global", "families", name)
        return cls(project, place or ("global" if kind == "images" else ""), kind, name) if kind in _KINDS else None

    @property
    def by_id(self) -> bool:
        """Whether it names the resource by its numeric id."""
        return self.name.isdecimal()

    @property
    def zone(self) -> str:
        """Its zone; empty if it is in none, or the link does not say."""
        return self.place.removeprefix("zones/") if self.place.startswith("zones/") else ""


def may_name(text: str, *names: str) -> bool:
    """Whether a link that `Link.parse` cannot read may name a resource all the same: in doubt it does.

    Args:
        text: The link.
        names: The resource's name and id.
    """
    words = re.findall(r"[-a-z0-9]+", unquote(unquote(text)).lower())
    return any(name in words for name in names if name)
