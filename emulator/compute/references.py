"""Names, paths and links of resources.

Inside the emulator a resource is known by its path (`projects/p/zones/z/disks/d`). Answers carry full links under
`https://www.googleapis.com/compute/v1/`, as the real API gives them whatever endpoint it was asked at.
"""

import re
import secrets

from cos_customizer.emulator.errors import invalid

_LINK = "https://www.googleapis.com/compute/v1/"

_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_API_PREFIX = re.compile(r"https?://[^/]+/(?:compute/)?(?:v1|beta|alpha)/")
_PROJECT = re.compile(r"projects/(?:[a-z0-9.-]+:)?[a-zA-Z0-9_-]+/.+")


def link(path: str) -> str:
    """Return the full link of a resource's path."""
    return _LINK + path


def path_of_link(full: str) -> str:
    """Return the path of a full link that `link` has made."""
    return full.removeprefix(_LINK)


def check_name(name: str, field: str = "resource.name") -> str:
    """Return the name if Compute Engine would take it (1 to 63 characters).

    Raises:
        ApiError: 400.
    """
    if not _NAME.fullmatch(name):
        why = "Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'"
        raise invalid(field, name, why)
    return name


def path_of(reference: str, project: str, field: str) -> str:
    """Return the path that a full or partial URL in a request means.

    Args:
        reference: for example `https://…/compute/v1/projects/p/global/images/i`, `projects/p/global/images/i` or
            `global/images/i`.
        project: the request's project, which a partial URL is relative to.
        field: where the reference stands in the request, for the error.

    Raises:
        ApiError: 400, it is not the URL of a resource.
    """
    path = _API_PREFIX.sub("", reference, count=1).lstrip("/")
    if path.startswith(("global/", "zones/", "regions/")):
        path = f"projects/{project}/{path}"
    if not _PROJECT.fullmatch(path):
        raise invalid(field, reference, "The URL is malformed.")
    return path


def name_in_zone(reference: str, project: str, place: tuple[str, str], field: str) -> str:
    """Return the name of a type that a request names: by a URL, which must be of its zone, or by the name alone.

    Args:
        reference: for example `zones/us-west1-b/diskTypes/pd-ssd`.
        project: the request's project, which a partial URL is relative to.
        place: the zone, and the kind of type: `diskTypes`.
        field: where the reference stands in the request, for the error.

    Raises:
        ApiError: 400, it is the URL of something else.
    """
    zone, kind = place
    if "/" in reference and path_of(reference, project, field).split("/")[2:-1] != ["zones", zone, kind]:
        raise invalid(field, reference, f"It must be one of the {kind} of zone '{zone}'.")
    return last(reference)


def last(reference: str) -> str:
    """Return the last component of a path or link: the resource's own name."""
    return reference.rsplit("/", 1)[-1]


def new_id() -> str:
    """Return a new numeric id, as text (ids are unsigned 64-bit numbers)."""
    return str(10**18 + secrets.randbelow(8 * 10**18))
