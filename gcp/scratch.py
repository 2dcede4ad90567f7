"""Objects in Cloud Storage: what a build keeps there, and a build context that is there already."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from google.api_core import exceptions
from google.cloud.storage.retry import DEFAULT_RETRY

from cos_customizer.customizer.errors import NotFoundError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients

_CHUNK = 8 << 20
"""Bytes held in memory while uploading, whatever the size of the file."""
_TRANSFER_RETRY = DEFAULT_RETRY.with_timeout(120.0)
"""For contents: the library tells of what goes wrong on the way by errors of its own."""


def upload(
    clients: Clients, target: ObjectRef, content: Path | IO[bytes], metadata: Mapping[str, str], expires: float
) -> None:
    """Store an object, replacing one of the same name.

    Args:
        clients: Google's clients.
        target: The object.
        content: a file to stream: its path, or open for reading and from then on ours to move in.
        metadata: custom metadata of the object.
        expires: Unix time after which it may be deleted; becomes the object's custom time, on which a bucket's
            lifecycle rule can act (https://cloud.google.com/storage/docs/lifecycle#dayssincecustomtime).

    Raises:
        NotFoundError: there is no such bucket.
        CustomizerError: it could not be stored.
    """
    doing = f"store {target.url}"
    blob = clients.storage.bucket(target.bucket).blob(target.name, chunk_size=_CHUNK)
    blob.metadata = dict(metadata)
    blob.custom_time = datetime.fromtimestamp(expires, UTC)
    try:
        if isinstance(content, Path):
            blob.upload_from_filename(content, "application/gzip", timeout=60, retry=_TRANSFER_RETRY)
        else:
            blob.upload_from_file(content, rewind=True, content_type="text/plain; charset=utf-8", retry=_TRANSFER_RETRY)
    except exceptions.NotFound as error:
        raise NotFoundError(
            f"could not {doing}: there is no bucket {target.bucket}",
            f"`gcloud storage buckets create gs://{target.bucket}` makes one; -gcs-bucket names another.",
        ) from error
    except Exception as error:
        raise calls.translated(error, doing) from error


def download(clients: Clients, source: ObjectRef, destination: Path) -> None:
    """Fetch an object as it is stored, whatever its content encoding; its checksum is verified. Memory use is bounded.

    Args:
        clients: Google's clients.
        source: The object.
        destination: the file to write; nothing is left of it on errors.

    Raises:
        NotFoundError: there is no such object, or no such bucket.
        PermissionDeniedError: it may not be read.
        CustomizerError: it could not be fetched.
    """
    doing, bucket = f"fetch {source.url}", source.bucket
    blob = clients.storage.bucket(bucket).blob(source.name)
    try:
        # First what it is: the answer to this call says what is wrong, and the generation which one to fetch.
        blob.reload(timeout=calls.REQUEST_TIMEOUT, retry=calls.RETRY)
        blob.download_to_filename(
            destination, raw_download=True, if_generation_match=blob.generation, timeout=60, retry=_TRANSFER_RETRY
        )
    except exceptions.NotFound as error:
        if _is_missing(clients, bucket):
            raise NotFoundError(f"could not {doing}: there is no bucket {bucket}") from error
        raise NotFoundError(
            f"could not {doing}: there is no such object", f"`gcloud storage ls gs://{bucket}/` lists what is there."
        ) from error
    except Exception as error:
        known = calls.translated(error, doing)
        if isinstance(error, exceptions.Forbidden):
            known.hint = f"role roles/storage.objectViewer on bucket {bucket} allows it, if there is such an object."
        raise known from error


def _is_missing(clients: Clients, bucket: str) -> bool:
    """Whether a bucket is known not to be there."""
    try:
        return not clients.storage.bucket(bucket).exists(timeout=calls.REQUEST_TIMEOUT, retry=calls.RETRY)
    except Exception:  # it may be there, and not for us to see
        return False


def delete(clients: Clients, target: ObjectRef) -> list[Removal]:
    """Delete an object of a build.

    Args:
        clients: Google's clients.
        target: The object.

    Returns:
        What came of it.
    """
    removal = Removal("object", target.bucket, target.name, "delete", "left of a build")
    blob = clients.storage.bucket(target.bucket).blob(target.name)
    try:
        blob.delete(timeout=calls.REQUEST_TIMEOUT, retry=calls.RETRY)
    except exceptions.NotFound:
        return [removal.ended("gone", "somebody else has deleted it")]
    except Exception as error:
        return [removal.ended("failed", calls.translated(error, f"delete {target.url}").message)]
    return [removal.ended("deleted")]
