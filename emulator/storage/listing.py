"""Lists of objects, in pages (https://cloud.google.com/storage/docs/json_api/v1/objects/list)."""

import base64
import binascii
from dataclasses import dataclass, field

from cos_customizer.emulator.storage.globs import glob
from cos_customizer.emulator.storage.requests import Request, Resource, invalid
from cos_customizer.emulator.storage.resources import shown_object
from cos_customizer.emulator.storage.store import Store, Stored

MOST = 1000
"""Entries of a page."""
_LAST = "\U0010ffff"
"""After a prefix, it sorts behind all that has the prefix."""


@dataclass(frozen=True)
class Wish:
    """Which objects to list.

    Attributes:
        prefix: how their names begin.
        delimiter: what ends a name's part that stands for all that begin with it; empty for none.
        start: the first name.
        end: the name before which to stop; empty for none.
        after: the entry (a name, or a prefix) that was the last of the page before; empty for the first page.
        glob: what names match; empty for any.
        with_folders: an object whose name ends with the delimiter is listed itself, too.
        size: entries of the page.
    """

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    after: str = ""
    glob: str = ""
    with_folders: bool = False
    size: int = MOST


@dataclass
class Page:
    """A page.

    Attributes:
        objects: in the order of their names.
        prefixes: that stand for other objects.
        last: the last entry if there are more; else empty.
    """

    objects: list[Stored] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: str = ""


def page(store: Store, bucket: str, wish: Wish) -> Page:
    """Return a page of a bucket's objects.

    Raises:
        ApiError: 400, the glob cannot be used.
    """
    pattern, found, last = (glob(wish.glob) if wish.glob else None), Page(), ""
    is_prefix = bool(wish.after) and _prefix(wish.after, wish) == wish.after
    skipped = wish.after if is_prefix else None
    start = max(wish.prefix, wish.start, wish.after + _LAST if is_prefix else wish.after)
    entries = store.objects(bucket, start, after=start == wish.after)
    while (entry := next(entries, None)) is not None:
        name, stored = entry
        if not name.startswith(wish.prefix) or (wish.end and name >= wish.end):
            break
        if pattern and not pattern.fullmatch(name):
            continue
        prefix = _prefix(name, wish)
        is_folder = prefix == name and wish.with_folders
        if prefix is not None and prefix == skipped:
            continue
        if len(found.objects) + len(found.prefixes) >= wish.size:
            found.last = last
            break
        if prefix is None:
            found.objects.append(stored)
        else:
            found.prefixes.append(prefix)
            skipped = prefix
            if is_folder:
                found.objects.append(stored)
            entries = store.objects(bucket, prefix + _LAST)  # what it stands for need not be looked at
        last = name if prefix is None else prefix
    return found


def _prefix(name: str, wish: Wish) -> str | None:
    if not wish.delimiter:
        return None
    end = name.find(wish.delimiter, len(wish.prefix))
    return None if end < 0 else name[: end + len(wish.delimiter)]


def list_objects(store: Store, request: Request, bucket: str) -> Resource:
    """Return the answer to `objects.list`.

    Raises:
        ApiError: 400 for a bad parameter, 404.
    """
    query = request.query
    store.bucket(bucket)
    if request.flag("softDeleted"):  # what is deleted is gone
        return {"kind": "storage#objects"}
    size = request.number("maxResults")
    wish = Wish(
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        start=query.get("startOffset", ""),
        end=query.get("endOffset", ""),
        after=from_token(query.get("pageToken", "")),
        glob=query.get("matchGlob", ""),
        with_folders=request.flag("includeTrailingDelimiter"),
        size=min(size or MOST, MOST),
    )
    found = page(store, bucket, wish)
    answer: Resource = {"kind": "storage#objects"}
    if found.last:
        answer["nextPageToken"] = to_token(found.last)
    if found.prefixes:
        answer["prefixes"] = found.prefixes
    if found.objects:
        answer["items"] = [shown_object(stored, request.endpoint) for stored in found.objects]
    return answer


def to_token(last: str) -> str:
    """Return the token of the page after an entry."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def from_token(token: str) -> str:
    """Return the entry that a page's token names.

    Raises:
        ApiError: 400, it is no token.
    """
    try:
        return base64.b64decode(token, altchars="-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raise invalid(f"Invalid value for field 'pageToken': '{token[:100]}'.") from None
