"""Names of container images and registries, as users write them and as registries are asked for them.

The rules of references are those of https://github.com/distribution/reference.
"""

import re
from dataclasses import dataclass

from cos_customizer.emulator.registry.errors import RegistryError

HUB = "docker.io"
_HUB_HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "mirror.gcr.io")
"""Hosts that have Docker Hub's images; mirror.gcr.io is Google's cache of it."""
_HOST = re.compile(r"(?=.{1,255}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST = 255
_OF_GOOGLE = re.compile(r"(?:(?:us|eu|asia)\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev")
_PUBLIC_PROJECTS = frozenset(
    (
        *("cos-cloud", "google-containers", "google_containers", "google-samples", "google.com", "cloud-builders"),
        *("distroless", "cadvisor", "kaniko-project", "stackdriver-agents", "gke-release", "k8s-artifacts-prod"),
    )
)
"""Projects whose images everybody may pull."""


@dataclass(frozen=True)
class Reference:
    """An image.

    Attributes:
        repository: its registry and its name there, for example `docker.io/library/ubuntu`.
        version: its tag, or its digest.
    """

    repository: str
    version: str = "latest"

    def __str__(self) -> str:
        return f"{self.repository}{'@' if is_digest(self.version) else ':'}{self.version}"


def parse(text: str) -> Reference:
    """Return the image that a user's text names, such as `ubuntu` or `gcr.io/my-project/app:1`.

    Raises:
        RegistryError: 400, it names none.
    """
    name, at, digest = text.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, ""
    if (at and not is_digest(digest)) or (colon and head != name and not is_tag(tag)):
        raise _invalid(text)
    return Reference(repository("", head), digest or tag or "latest")


def repository(host: str, path: str) -> str:
    """Return a repository's full name.

    Args:
        host: of the registry that was asked; empty: the name may begin with one, and is Docker Hub's if it does not.
        path: the name that it was asked for.

    Raises:
        RegistryError: 400, it is no name.
    """
    if not host:
        first, slash, rest = path.partition("/")
        is_host = slash and ("." in first or ":" in first or first == "localhost")
        host, path = (first, rest) if is_host else (HUB, path)
    host = host.lower().removesuffix(":443")
    if host in _HUB_HOSTS:
        host, path = HUB, path if "/" in path else f"library/{path}"
    full = f"{host}/{path}"
    if len(full) > _LONGEST or not _HOST.fullmatch(host) or not all(map(_PART.fullmatch, path.split("/"))):
        raise _invalid(full)
    return full


def is_host(text: str) -> bool:
    """Return whether this can be a registry's host, perhaps with a port."""
    return _HOST.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Return whether this can be a tag."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Return whether this is a digest that is known here: of SHA-256."""
    return _DIGEST.fullmatch(text) is not None


def is_googles(full: str) -> bool:
    """Return whether a repository, or a host, is in a registry that asks for the token of a Google account."""
    return _OF_GOOGLE.fullmatch(full.partition("/")[0]) is not None


def is_public(full: str) -> bool:
    """Return whether everybody may pull from a repository."""
    return not is_googles(full) or full.split("/")[1] in _PUBLIC_PROJECTS


def _invalid(text: str) -> RegistryError:
    return RegistryError(400, "NAME_INVALID", f"{text[:200]!r} is no name of a container image")
