"""Projects: their numbers and service accounts, and the one project that offers images and cannot be changed."""

import hashlib
import re

from cos_customizer.emulator.errors import ApiError

READ_ONLY_PROJECT = "cos-cloud"
"""Offers the images of the catalogue."""


_DOMAIN = r"(?:(?:[-a-z0-9]{1,63}\.)*(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?):)?"
_IN_PATHS = re.compile(rf"{_DOMAIN}(?:[0-9]{{1,19}}|(?:[a-z0-9](?:[-a-z0-9]{{0,61}}[a-z0-9])?))")
"""A project's id or number in a request (https://compute.googleapis.com/discovery/v1/apis/compute/v1/rest)."""
_ID = re.compile(r"[a-z][-a-z0-9]{4,28}[a-z0-9]")
"""https://cloud.google.com/resource-manager/docs/creating-managing-projects#before_you_begin, without domains."""


def is_project_id(text: str) -> bool:
    """Return whether there can be a project of this id."""
    return _ID.fullmatch(text) is not None


def check_project(text: str) -> None:
    """Refuse a request for what is neither a project's id nor its number.

    Raises:
        ApiError: 400.
    """
    if not _IN_PATHS.fullmatch(text):
        raise ApiError(400, "invalid", f"Invalid value for field 'project': '{text[:100]}'. Must be a project's id.")


def check_writable(project: str) -> None:
    """Refuse a change in the project that offers the catalogue's images.

    Raises:
        ApiError: 403.
    """
    if project == READ_ONLY_PROJECT:
        raise ApiError(403, "forbidden", f"Required write permission for 'projects/{project}': it is read-only here.")


def project_number(project: str) -> int:
    """Return the number of a project, always the same for one id, with 12 digits as Google's have."""
    return int.from_bytes(hashlib.sha256(project.encode()).digest()[:8]) % 900_000_000_000 + 100_000_000_000


def default_service_account(project: str) -> str:
    """Return the e-mail address of the project's default service account."""
    return f"{project_number(project)}-compute@developer.gserviceaccount.com"
