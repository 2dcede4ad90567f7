"""What requests may name: buckets by Google's rules, and paths that are a method's.

Sources: https://cloud.google.com/storage/docs/buckets#naming, https://cloud.google.com/storage/docs/objects#naming.
"""

import re
from urllib.parse import unquote, urlsplit

from cos_customizer.emulator.errors import ApiError

_BUCKET = re.compile(r"(?!goog)(?=[^.]{3,63}$|[^.]{1,63}(?:\.[^.]{1,63})+$)[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9]")
_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_NOT_IN_NAMES = re.compile(r"[\r\n\0]")
_LONGEST_OBJECT = 1024
_LONGEST_PATH = 8192
"""More than two names of objects need, with each byte escaped (as in `rewriteTo`)."""


def is_bucket_name(name: str) -> bool:
    """Return whether Cloud Storage would take this name for a new bucket."""
    return _BUCKET.fullmatch(name) is not None and not _ADDRESS.fullmatch(name) and "google" not in name


def check_target(target: str) -> None:
    """Refuse a request for something that has no name that Cloud Storage could have given.

    Args:
        target: the request's path and query.

    Raises:
        ApiError: 400 for a path that nothing can have, 404 for one that is no method's.
    """
    path = urlsplit(target).path
    longest = max(len(unquote(part).encode("utf-8", "surrogateescape")) for part in path.split("/"))
    if len(path) > _LONGEST_PATH or longest > _LONGEST_OBJECT:
        raise ApiError(400, "invalid", f"The name of an object must be at most {_LONGEST_OBJECT} bytes long.")


def check_new_bucket(name: object) -> None:
    """Refuse a name for a new bucket that Cloud Storage would not take.

    Raises:
        ApiError: 400.
    """
    if not isinstance(name, str) or not is_bucket_name(name):
        raise ApiError(400, "invalid", f"Invalid bucket name: '{str(name)[:100]}'")


def check_new_object(name: str) -> None:
    """Refuse a name for a new object that Cloud Storage would not take.

    Raises:
        ApiError: 400.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        length = 0
    if not 0 < length <= _LONGEST_OBJECT:
        raise ApiError(
            400, "invalid", f"The name of an object must be UTF-8, and at most {_LONGEST_OBJECT} bytes long."
        )
    if name in (".", "..") or _NOT_IN_NAMES.search(name) or name.startswith(".well-known/acme-challenge/"):
        raise ApiError(400, "invalid", f"Disallowed object name: '{name[:100]}'")
