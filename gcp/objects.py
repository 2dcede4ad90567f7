"""Objects in Cloud Storage for people to look at: what is in one, and what one that is not there may have been."""

from collections.abc import Callable

from google.api_core import exceptions

from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.spelling import did_you_mean
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients

_MOST_NAMES = 1000
_SHOWN_NAMES = 3


class _Writer:
    """As much of a file as a download needs."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.write = write


def show(clients: Clients, source: ObjectRef, write: Callable[[bytes], object]) -> None:
    """Pass on an object's bytes as they are stored, piece by piece.

    Args:
        clients: Google's clients.
        source: the object.
        write: takes the pieces in order.

    Raises:
        NotFoundError: there is no such object or bucket; the hint has the names that are like it.
        CustomizerError: it could not be fetched.
    """
    try:
        fetch(clients, source, write)
    except NotFoundError:
        raise NotFoundError(*_what_is_missing(clients, source)) from None


def fetch(clients: Clients, source: ObjectRef, write: Callable[[bytes], object]) -> None:
    """Pass on an object's bytes as they are stored, piece by piece. Nothing else is asked for.

    Args:
        clients: Google's clients.
        source: the object.
        write: takes the pieces in order.

    Raises:
        NotFoundError: there is no such object or bucket.
        CustomizerError: it could not be fetched.
    """
    doing = f"fetch {source.url}"
    blob = clients.storage.bucket(source.bucket).blob(source.name)
    try:
        blob.reload(**calls.patience())
        blob.download_to_file(_Writer(write), raw_download=True, if_generation_match=blob.generation)
    except exceptions.NotFound:
        raise NotFoundError(f"there is no object {source.url}") from None
    except Exception as error:
        raise calls.translated(error, doing) from error


def content(clients: Clients, source: ObjectRef, most: int) -> bytes:
    """The bytes of an object.

    Args:
        clients: Google's clients.
        source: The object.
        most: Bytes that it may have.

    Raises:
        NotFoundError: There is no such object or bucket.
        CustomizerError: It could not be fetched, or is larger.
    """
    parts, length = [], 0

    def take(part: bytes) -> None:
        nonlocal length
        length += len(part)
        if length > most:
            raise CustomizerError(f"{source.url} has more than {most:,} bytes")
        parts.append(part)

    fetch(clients, source, take)
    return b"".join(parts)


def exists(clients: Clients, source: ObjectRef) -> bool:
    """Whether there is such an object.

    Raises:
        CustomizerError: Cloud Storage does not say.
    """
    try:
        return bool(clients.storage.bucket(source.bucket).blob(source.name).exists(**calls.patience()))
    except Exception as error:
        raise calls.translated(error, f"look for {source.url}") from error


def _what_is_missing(clients: Clients, source: ObjectRef) -> tuple[str, str]:
    """What is wrong with an object's address, and what there is."""
    buckets = [bucket.name for bucket in clients.storage.list_buckets(max_results=_MOST_NAMES, **calls.patience())]
    if source.bucket not in buckets:
        return f"there is no bucket {source.bucket!r}", did_you_mean(source.bucket, buckets, "gs://")
    place = f"gs://{source.bucket}/"
    names = _names(clients, source.bucket, f"{source.name.rstrip('/')}/")
    if names:  # it is a directory, as people see it
        shown = ", ".join(place + name for name in names[:_SHOWN_NAMES])
        return f"there is no object {source.url}", f"below it: {shown}{', …' if len(names) > _SHOWN_NAMES else ''}."
    names = _names(clients, source.bucket, "")
    near = did_you_mean(source.name, names, place)
    return f"there is no object {source.url}", near or ("" if names else f"bucket {source.bucket} is empty.")


def _names(clients: Clients, bucket: str, prefix: str) -> list[str]:
    listed = clients.storage.list_blobs(bucket, prefix=prefix, max_results=_MOST_NAMES, **calls.patience())
    return [blob.name for blob in listed]
