"""Projects: their numbers and service accounts, and the one project that offers images and cannot be changed."""

import hashlib

from cos_customizer.emulator.errors import ApiError

READ_ONLY_PROJECT = "cos-cloud"
"""Offers the images of the catalogue."""


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
