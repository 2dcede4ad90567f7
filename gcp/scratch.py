"""Objects in Cloud Storage: what a build keeps there, and a build context that is there already."""

import os
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from google.api_core import exceptions
from google.cloud.storage.exceptions import InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import NotFoundError, UsageError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.gcp import calls, in_flight
from cos_customizer.gcp.clients import Clients

_CHUNK = 8 << 20
"""Bytes held in memory while uploading, whatever the size of the file."""
_RETRY_BOUND = 120.0
_SCRATCH_BUCKET = FieldPath("scratch.bucket")


def _is_transient(error: BaseException) -> bool:
    """Whether a transfer may go on a moment later. The library has errors of its own for what goes wrong on the way."""
    if isinstance(error, InvalidResponse):
        return _is_transient(exceptions.from_http_response(error.response))  # type: ignore[no-untyped-call]
    return calls.is_transient(error) or DEFAULT_RETRY._predicate(error)  # noqa: SLF001 - it gives it in no other way


_TRANSFER_RETRY = DEFAULT_RETRY.with_predicate(_is_transient)


def _is_refused_for_now(error: BaseException) -> bool:
    """Whether it is one call too many (403).

    The library does not go on with an upload after a 403, whatever its reason: it has to begin anew.
    """
    if isinstance(error, InvalidResponse):
        error = exceptions.from_http_response(error.response)  # type: ignore[no-untyped-call]
    return isinstance(error, exceptions.Forbidden) and calls.is_transient(error)


_UPLOAD_RETRY = DEFAULT_RETRY.with_predicate(lambda error: _is_transient(error) and not _is_refused_for_now(error))
_WHOLE_UPLOAD_RETRY = DEFAULT_RETRY.with_predicate(_is_refused_for_now)


class _Reader:
    """A file that is read only as long as somebody waits for its upload.

    Args:
        file: To read.
        size: Of the file, in bytes.
        sent: The request that it is part of; whole once the last byte was read, without which there is no object.
    """

    def __init__(self, file: IO[bytes], size: int, sent: in_flight.Request[None]) -> None:
        self._file = file
        self._size = size
        self._sent = sent
        sent.whole |= size == 0

    def read(self, size: int = -1) -> bytes:
        self._sent.check()
        data = self._file.read(size)
        self._sent.whole |= self._file.tell() >= self._size
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def upload(
    clients: Clients,
    target: ObjectRef,
    content: Path | IO[bytes],
    metadata: Mapping[str, str],
    expires: float | None,
    kind: str = "",
) -> None:
    """Store an object, replacing one of the same name.

    Args:
        clients: Google's clients.
        target: The object.
        content: a file to stream: its path, or open for reading and from then on ours to move in.
        metadata: custom metadata of the object.
        expires: Unix time after which it may be deleted; becomes the object's custom time, on which a bucket's
            lifecycle rule can act (https://cloud.google.com/storage/docs/lifecycle#dayssincecustomtime). None: none.
        kind: its media type; by default that of an archive for a path, and that of a text for an open file.

    Raises:
        NotFoundError: there is no such bucket.
        CustomizerError: it could not be stored.
    """
    doing = f"store {target.url}"
    deadline.check(doing)
    retry = _UPLOAD_RETRY.with_timeout(deadline.left(_RETRY_BOUND))
    blob = clients.storage.bucket(target.bucket).blob(target.name, chunk_size=_CHUNK)
    blob.metadata = dict(metadata)
    if expires is not None:
        blob.custom_time = datetime.fromtimestamp(expires, UTC)
    kind = kind or ("application/gzip" if isinstance(content, Path) else "text/plain; charset=utf-8")

    def work(sent: in_flight.Request[None]) -> None:
        sent.whole = False

        def once() -> None:
            with content.open("rb") if isinstance(content, Path) else nullcontext(content) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                reader: Any = _Reader(file, size, sent)
                blob.upload_from_file(reader, size=size, content_type=kind, timeout=deadline.left(60), retry=retry)

        _WHOLE_UPLOAD_RETRY.with_timeout(deadline.left(_RETRY_BOUND))(once)()

    try:
        in_flight.carry_out(target, work, calls.is_unanswered)
    except exceptions.NotFound as error:
        raise NotFoundError(
            f"could not {doing}: there is no bucket {target.bucket}", _on_missing_bucket(target.bucket)
        ) from error
    except Exception as error:
        raise calls.translated(error, doing) from error


def check_bucket(clients: Clients, bucket: str, field: FieldPath = _SCRATCH_BUCKET) -> None:
    """Find out whether a bucket is there, by a call that who may keep objects in it may make.

    Args:
        clients: Google's clients.
        bucket: Its name.
        field: That names it.

    Raises:
        UsageError: It is known not to be there. Where the API may not be asked, or does not answer, the upload tells.
    """
    try:
        list(clients.storage.list_blobs(bucket, max_results=1, **calls.patience()))
    except exceptions.NotFound as error:
        what = Message("{}: there is no bucket {}", field, bucket)
        raise UsageError(what, _on_missing_bucket(bucket, field)) from error
    except Exception:  # it may be there, and not for us to see
        return


def _on_missing_bucket(bucket: str, field: FieldPath = _SCRATCH_BUCKET) -> Message:
    return Message("`gcloud storage buckets create gs://{}` makes one; {} names another.", bucket, field)


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
        blob.reload(**calls.patience())
        blob.download_to_filename(
            destination,
            raw_download=True,
            if_generation_match=blob.generation,
            timeout=deadline.left(60),
            retry=_TRANSFER_RETRY.with_timeout(deadline.left(_RETRY_BOUND)),
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
        return not clients.storage.bucket(bucket).exists(**calls.patience())
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
    return in_flight.take_back(target, removal, lambda: [_delete(clients, target, removal)])


def _delete(clients: Clients, target: ObjectRef, removal: Removal) -> Removal:
    doing = f"delete {target.url}"
    blob = clients.storage.bucket(target.bucket).blob(target.name)
    try:
        deadline.check(doing)
        blob.delete(**calls.patience())
    except exceptions.NotFound:
        return removal.ended("gone", "somebody else has deleted it")
    except Exception as error:
        return removal.ended("failed", calls.translated(error, doing).message)
    return removal.ended("deleted")
