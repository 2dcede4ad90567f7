"""Images as archives of `disk.raw`: carried into Compute Engine through a bucket of the project's."""

import secrets
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.cloud import compute_v1

from cos_customizer.customizer.references import ImageRef
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import message

_CHUNK = 32 << 20
"""Bytes of an upload that are sent at once."""


def import_archive(clients: Clients, project: str, image: dict[str, Any], archive: Path) -> None:
    """Make an image of an archive, and leave no object behind.

    Args:
        clients: Google's.
        project: of the image, and of the bucket `PROJECT_cloudbuild` that the archive passes through.
        image: an `Image` without its source.
        archive: the file.

    Raises:
        CustomizerError: the archive is refused, or the image is.
    """
    doing = f"import {archive}"
    blob = clients.storage.bucket(f"{project}_cloudbuild").blob(f"import-{secrets.token_hex(8)}.tar.gz")
    blob.chunk_size = _CHUNK
    try:
        blob.upload_from_filename(str(archive), content_type="application/gzip", **calls.patience())
    except Exception as error:
        raise calls.translated(error, doing) from error
    try:
        source = f"https://storage.googleapis.com/{blob.bucket.name}/{blob.name}"
        request = compute_v1.InsertImageRequest(
            project=project,
            image_resource=message(compute_v1.Image, {**image, "rawDisk": {"source": source}}),
            request_id=str(uuid.uuid4()),
        )
        operation = calls.send(clients.images.insert_unary, request, doing, ImageRef(project, image["name"]))
        try:
            calls.wait(clients, operation, doing)
        except BaseException:
            with suppress(Exception):
                clients.images.delete_unary(project=project, image=image["name"])
            raise
    finally:
        with suppress(Exception):  # what went wrong before is what counts
            blob.delete(**calls.patience())


def fetch(clients: Clients, bucket: str, name: str, file: Path) -> None:
    """Move an object to a file.

    Args:
        clients: Google's.
        bucket: the object's bucket.
        name: the object, which is deleted then.
        file: to be written.

    Raises:
        CustomizerError: it cannot be read.
    """
    blob = clients.storage.bucket(bucket).blob(name)
    try:
        blob.download_to_filename(str(file), raw_download=True, **calls.patience())
    except Exception as error:
        raise calls.translated(error, f"fetch gs://{bucket}/{name}") from error
    finally:
        with suppress(Exception):
            blob.delete(**calls.patience())
