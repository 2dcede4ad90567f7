"""Deleting recorded contents whose image is gone."""

from google.api_core import exceptions

from cos_customizer.customizer import deadline
from cos_customizer.customizer.contents import places
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.names import BUILD_LABEL, BuildNames
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients


def discard(clients: Clients, target: ObjectRef | None, build: str) -> list[Removal]:
    """Delete what a build has recorded of its image, and the documents beside it.

    An image's description may name anything: each object is looked at.

    Args:
        clients: Google's clients.
        target: the object; None: nothing is recorded.
        build: id of the build. An object that is not named as its, or does not say that it is its, stays.

    Returns:
        What came of it; nothing of what is not there.
    """
    if target is None:
        return []
    is_ours = _is_place_of(target, build)
    documents = [places.beside(target, name) for name in places.DOCUMENTS] if is_ours else []
    return [removal for each in (target, *documents) for removal in _discard(clients, each, build, is_ours)]


def _discard(clients: Clients, target: ObjectRef, build: str, is_ours: bool) -> list[Removal]:
    removal = Removal("object", target.bucket, target.name, "delete", "recorded contents of an image that is gone")
    doing = f"delete {target.url}"
    try:
        deadline.check(doing)
        blob = clients.storage.bucket(target.bucket).get_blob(target.name, **calls.patience())
        if blob is None:
            return []
        if (blob.metadata or {}).get(BUILD_LABEL) != build or not is_ours:
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
