"""Recorded contents in Cloud Storage: begun before the builder VM is made, sent by it, read by whoever compares images.

The flow begins a resumable upload with its own rights. The address of its session is all that the VM needs to send the
object (https://cloud.google.com/storage/docs/resumable-uploads#session-uris), and to send nothing else.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import IO
from urllib.parse import urlsplit

from google.api_core import exceptions

from cos_customizer.customizer import deadline
from cos_customizer.customizer.contents.inventory import Contents
from cos_customizer.customizer.contents.reading import MOST_PACKED, read_contents
from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.names import BUILD_LABEL, IMAGE_KEY, PROJECT, RESOURCE_NAME, BuildNames
from cos_customizer.customizer.references import ImageRef, ObjectRef
from cos_customizer.customizer.spec.options import RECORD_CONTENTS
from cos_customizer.gcp import calls, contents_removal
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import ResolvedImage, find_image

_IN_MEMORY = 16 << 20


def begin_upload(clients: Clients, target: ObjectRef, metadata: Mapping[str, str]) -> str:
    """Begin a resumable upload that the builder VM is to complete.

    It has no custom time, on which a lifecycle rule of the bucket would act: it lives as long as its image.

    Args:
        clients: Google's clients.
        target: the object.
        metadata: custom metadata of the object.

    Returns:
        The address of its session, which is valid for a week: path and query, for whatever endpoint the VM has.

    Raises:
        NotFoundError: there is no such bucket.
        CustomizerError: it could not be begun.
    """
    doing = f"begin the upload of {target.url}"
    deadline.check(doing)
    blob = clients.storage.bucket(target.bucket).blob(target.name)
    blob.metadata = dict(metadata)
    try:
        address = urlsplit(
            blob.create_resumable_upload_session(content_type="application/gzip", checksum=None, **calls.patience())
        )
    except Exception as error:
        raise calls.translated(error, doing) from error
    return f"{address.path}?{address.query}"


def fetch(clients: Clients, source: ObjectRef, sha256: str) -> Contents:
    """Fetch recorded contents and read them.

    Args:
        clients: Google's clients.
        source: the object.
        sha256: digest that it must have; empty: any.

    Raises:
        NotFoundError: there is no such object.
        CustomizerError: it could not be fetched, has another digest, or is broken.
    """
    doing = f"fetch {source.url}"
    blob = clients.storage.bucket(source.bucket).blob(source.name)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        try:
            blob.reload(**calls.patience())
            if (size := blob.size or 0) > MOST_PACKED:
                raise CustomizerError(f"{source.url} has {size:,} bytes: that is more than recorded contents can have")
            blob.download_to_file(file, raw_download=True, if_generation_match=blob.generation, **calls.patience())
        except exceptions.NotFound as error:
            raise NotFoundError(f"could not {doing}: there is no such object") from error
        except CustomizerError:
            raise
        except Exception as error:
            raise calls.translated(error, doing) from error
        return _read(file, source, sha256)


def _read(file: IO[bytes], source: ObjectRef, sha256: str) -> Contents:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    if sha256 and digest.hexdigest() != sha256:
        raise CustomizerError(
            f"{source.url} has SHA-256 {digest.hexdigest()}, not {sha256}: it is not what the builder VM has sent"
        )
    file.seek(0)
    try:
        return read_contents(file)
    except CustomizerError as error:
        raise CustomizerError(f"{source.url}: {error.message}", error.hint) from error


def contents_of(clients: Clients, image: ResolvedImage) -> Contents:
    """The recorded contents of an image, whose description names the object and its digest.

    Args:
        clients: Google's clients.
        image: made by this tool, with its contents recorded.

    Raises:
        NotFoundError: it has none recorded, or the object is gone.
        CustomizerError: they could not be fetched, or are broken.
    """
    provenance = image.provenance
    source = provenance.recorded_contents if provenance else None
    if provenance is None or source is None:
        why = "was not made by cos-customizer" if provenance is None else "was made without recording its contents"
        raise NotFoundError(
            f"image {image.project}/{image.name} has no recorded contents: it {why}",
            Message("a build with {} records them.", FieldPath(RECORD_CONTENTS.path, True)),
        )
    return fetch(clients, source, provenance.contents_sha256)


def image_named_in(metadata: Mapping[str, str]) -> ImageRef | None:
    """The image that recorded contents tell of; None if their metadata name none.

    Args:
        metadata: of the object.
    """
    project, _, name = metadata.get(IMAGE_KEY, "").partition("/")
    return ImageRef(project, name) if PROJECT.fullmatch(project) and RESOURCE_NAME.fullmatch(name) else None


def image_told_of(clients: Clients, metadata: Mapping[str, str]) -> ResolvedImage | None:
    """The image that recorded contents tell of, if it is there, and not another one of its name.

    Args:
        clients: Google's clients.
        metadata: of the object.

    Raises:
        CustomizerError: the API does not say whether it is there.
    """
    named = image_named_in(metadata)
    image = find_image(clients, named) if named else None
    return image if image and image.made_by(BuildNames(metadata.get(BUILD_LABEL, ""))) else None


def discard_unused(clients: Clients, target: ObjectRef, build: BuildNames) -> list[Removal]:
    """Delete the recorded contents of a build, unless there is an image that they tell of.

    Args:
        clients: Google's clients.
        target: the object.
        build: that has recorded them.

    Returns:
        What came of it; nothing if there is no such object.

    Raises:
        CustomizerError: the API does not say what is there.
    """
    doing = f"read {target.url}"
    deadline.check(doing)
    try:
        blob = clients.storage.bucket(target.bucket).get_blob(target.name, **calls.patience())
    except exceptions.NotFound:
        return []
    except Exception as error:
        raise calls.translated(error, doing) from error
    if blob is None or image_told_of(clients, blob.metadata or {}):
        return []
    return contents_removal.discard(clients, target, build.id)


def cancel_upload(clients: Clients, address: str) -> None:
    """Let nobody send anything any more to a session that `begin_upload` has begun; it may be over.

    Args:
        clients: Google's clients.
        address: of the session.
    """
    with suppress(Exception):  # what has been sent of it is no object, and Cloud Storage forgets it after a week
        origin = clients.endpoints.storage or "https://storage.googleapis.com"
        clients.storage._http.delete(origin + address, timeout=deadline.left(calls.REQUEST_TIMEOUT))  # noqa: SLF001
