"""Requests for objects, where gcp-storage-emulator does too little: preconditions, and lists in pages.

Sources: https://cloud.google.com/storage/docs/request-preconditions,
https://cloud.google.com/storage/docs/json_api/v1/objects/list.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from gcp_storage_emulator import gcs_glob

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.patterns import Pattern
from cos_customizer.emulator.storage.driver_bucket import Resource

_OBJECT = re.compile(r"(?:/storage/v1)?/b/([^/]+)/o/([^/]+)")
_LIST = re.compile(r"(?:/storage/v1)?/b/([^/]+)/o/?")
_MOST = 1000
_MOST_BRACES = 4
_LONGEST_GLOB = 1024
_CONDITIONS = (
    ("ifGenerationMatch", "generation", True),
    ("ifGenerationNotMatch", "generation", False),
    ("ifMetagenerationMatch", "metageneration", True),
    ("ifMetagenerationNotMatch", "metageneration", False),
)


def check_preconditions(objects: Mapping[str, Mapping[str, Resource]], target: str) -> None:
    """Refuse a request whose preconditions its object does not meet.

    Uploads are not checked: their object's name may stand in the body.

    Args:
        objects: the objects, by bucket and name.
        target: the request's path and query.

    Raises:
        ApiError: 412, or 400 for a condition that is not a number.
    """
    parts = urlsplit(target)
    found = _OBJECT.fullmatch(parts.path)
    query = dict(parse_qsl(parts.query))
    stored = objects.get(found[1], {}).get(unquote(found[2])) if found else None
    if stored is None:  # the storage answers that
        return
    for name, field, equal in _CONDITIONS:
        if name not in query:
            continue
        if not query[name].isdecimal():
            raise ApiError(400, "invalid", f"Invalid value for field '{name}': '{query[name]}'.")
        if (query[name] == str(stored[field])) != equal:
            raise ApiError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")


def list_page(storage: Any, target: str) -> dict[str, Any] | None:
    """Return the answer to a request for a list of objects.

    Args:
        storage: of gcp-storage-emulator.
        target: the request's path and query.

    Returns:
        The answer's body; None if the request asks for something else, which is not done here.

    Raises:
        ApiError: 400 for a bad parameter.
    """
    parts = urlsplit(target)
    found = _LIST.fullmatch(parts.path)
    query = dict(parse_qsl(parts.query))
    if found is None or found[1] not in storage.buckets or "softDeleted" in query:
        return None
    names = ("prefix", "delimiter", "matchGlob")
    objects, prefixes = storage.get_file_list(found[1], *(query.get(name) for name in names))
    entries: list[tuple[str, Resource | None]] = [(item["name"], item) for item in objects]
    entries += [(prefix, None) for prefix in prefixes]
    after, size = _decode(query.get("pageToken", "")), _page_size(query.get("maxResults", str(_MOST)))
    rest = [entry for entry in sorted(entries, key=lambda entry: entry[0]) if entry[0] > after]
    page = rest[:size]
    answer: dict[str, Any] = {
        "kind": "storage#objects",
        "prefixes": [name for name, item in page if item is None],
        "items": [item for _, item in page if item is not None],
    }
    if len(rest) > size:
        answer["nextPageToken"] = base64.urlsafe_b64encode(page[-1][0].encode()).decode()
    return answer


def glob_matches(glob: str, name: str) -> bool:
    """Return whether a name matches a `matchGlob`, in a bounded time (the library's own test may take for ever).

    Raises:
        ApiError: 400, the glob is too long, or takes too long.
    """
    if len(glob) > _LONGEST_GLOB or glob.count("{") > _MOST_BRACES:
        raise ApiError(400, "invalid", f"Invalid value for field 'matchGlob': '{glob[:100]}'. It is too complex.")
    try:
        patterns = [gcs_glob._glob_to_regex(each).pattern for each in gcs_glob.expand_braces(glob)]  # noqa: SLF001
        return any(Pattern(each).fullmatch(name) for each in patterns)
    except (ValueError, re.error):
        raise ApiError(400, "invalid", f"Invalid value for field 'matchGlob': '{glob[:100]}'.") from None


def _page_size(text: str) -> int:
    if not text.isdecimal():
        raise ApiError(400, "invalid", f"Invalid value for field 'maxResults': '{text}'.")
    return min(int(text), _MOST) or _MOST


def _decode(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ApiError(400, "invalid", f"Invalid value for field 'pageToken': '{token}'.") from None
