"""The GPU drivers that NVIDIA has published."""

from base64 import b64decode

from google.auth.credentials import AnonymousCredentials
from google.cloud.storage.retry import DEFAULT_RETRY

from cos_customizer.customizer import deadline
from cos_customizer.customizer.spec.gpu_drivers import BUCKET, PREFIX, Drivers, drivers_in
from cos_customizer.gcp.endpoints import Endpoints, look_for_local
from cos_customizer.gcp.storage_client import storage_client

_PATIENCE, _RETRY_BOUND = 30.0, 120.0


def published_drivers(endpoints: Endpoints) -> Drivers:
    """The drivers in NVIDIA's public bucket. Needs no credentials, and no more of Google's libraries than storage.

    Source: https://cloud.google.com/storage/docs/access-public-data.

    Args:
        endpoints: where Cloud Storage is.

    Raises:
        CustomizerError: they cannot be listed.
    """
    if endpoints.anonymous:
        look_for_local(endpoints)
    client = storage_client(AnonymousCredentials(), endpoints.storage)  # type: ignore[no-untyped-call]
    try:
        blobs = client.list_blobs(
            BUCKET,
            prefix=PREFIX,
            match_glob=f"{PREFIX}*/NVIDIA-Linux-x86_64-*",
            fields="items(name,md5Hash),nextPageToken",
            timeout=deadline.left(_PATIENCE),
            retry=DEFAULT_RETRY.with_timeout(deadline.left(_RETRY_BOUND)),
        )
        return drivers_in((blob.name, b64decode(blob.md5_hash or "").hex()) for blob in blobs)
    except Exception as error:
        from cos_customizer.gcp import calls  # with all of Compute Engine's library

        raise calls.translated(error, f"list the GPU drivers in gs://{BUCKET}") from error
