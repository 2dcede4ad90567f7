"""Google's client of Cloud Storage; nothing of Compute Engine's library, which takes long to import."""

from typing import Any

import google.cloud.storage as gcs
from google.api_core.client_options import ClientOptions


def storage_client(credentials: Any, endpoint: str | None) -> Any:
    """A client of Cloud Storage. The project matters to bucket creation only, which is not ours to do.

    For traces that nobody looks at, Google's client would read each bucket's metadata in a thread of its own: a request
    that nobody has asked for, and a right (`storage.buckets.get`) that a build does not need. This one does not.

    Args:
        credentials: of google-auth.
        endpoint: where it is; None: where it always is.
    """
    options = ClientOptions(api_endpoint=endpoint) if endpoint else None
    client = gcs.Client(project="-", credentials=credentials, client_options=options)
    client._bucket_metadata_cache = None  # noqa: SLF001 - there is a variable of the environment for it, and no option
    return client
