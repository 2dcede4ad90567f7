"""Deleting recorded contents whose image is gone."""

from google.api_core import exceptions

from cos_customizer.customizer import deadline
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.names import BUILD_LABEL, BuildNames
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients


def discard(clients: Clients, target: ObjectRef | None, build: str) -> list[Removal]:
    """Delete what a build has recorded of its image. An image's description may name anything: the object is looked at.

    Args:
        clients: Google's clients.
        target: the object; None: nothing is recorded.
        build: id of the build. An object that is not named as its, or does not say that it is its, stays.

    Returns:
        What came of it; nothing if there is no such object.
    """
    if target is None:
        return []
    removal = Removal("object", target.bucket, target.name, "delete", "recorded contents of an image that is gone")
    doing = f"delete {target.url}"
    try:
        deadline.check(doing)
        blob = clients.storage.bucket(target.bucket).get_blob(target.name, **calls.patience())
        if blob is None:
            return []
        if (blob.metadata or {}).get(BUILD_LABEL) != build or not _is_place_of(target, build):
            return [removal.ended("keep", f"not made by build {build}")]
        blob.delete(if_generation_match=blob.generation, **calls.patience())
    except exceptions.NotFound:
        return []
    except Exception as error:
        known = calls.translated(error, doing)
        return [removal.ended("failed", known.message, known.hint)]
    return [removal.ended("deleted")]


def _is_place_of(target: ObjectRef, build: str) -> bool:
    names = BuildNames.parse(build)
    return names is not None and f"/{target.name}".endswith(f"/{names.contents('')}")
