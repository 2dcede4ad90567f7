"""Requests to Cloud Storage and answers to them, as its methods see them; partial answers."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.request_body import Body, read_all

Resource = dict[str, Any]
"""A bucket or an object in Cloud Storage's JSON form."""

JSON_TYPE = "application/json; charset=UTF-8"
LONGEST_JSON = 16 << 20
"""Bytes of a body that is read as a whole."""
_DEEPEST_MASK = 20
_LONGEST_MASK = 4096


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        method: HTTP method.
        target: path and query, as they were sent.
        headers: of the request.
        body: to be read; its content encoding is still on it.
        longest: bytes that a body may have.
    """

    method: str
    target: str
    headers: Message
    body: Body
    longest: int

    @property
    def path(self) -> str:
        """The path, not decoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query; the last of one name."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def endpoint(self) -> str:
        """URL of the service, as the client knows it."""
        return f"http://{self.headers.get('Host', '127.0.0.1')}"

    def number(self, name: str) -> int | None:
        """Return a parameter that is a number, or None if it is not there.

        Raises:
            ApiError: 400, it is no number.
        """
        text = self.query.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) < 20):
            raise ApiError(400, "invalid", f"Invalid value for field '{name}': '{text[:100]}'.")
        return int(text)

    def flag(self, name: str) -> bool:
        """Return whether a parameter says `true`."""
        return self.query.get(name, "").lower() == "true"

    def json(self) -> Resource:
        """Return the body's JSON object; an empty one if there is no body.

        Raises:
            ApiError: 400, it is none.
        """
        return json_object(read_all(self.body, min(self.longest, LONGEST_JSON)))


@dataclass
class Answer:
    """An answer.

    Attributes:
        status: HTTP status.
        content: its body, unless it is `media`.
        headers: all but those of the body's length.
        media: an open file, part of which is the body; whoever sends the answer closes it.
        start: the first byte of it.
        length: how many bytes of it.
        is_unpacked: `media` is compressed, and the body is not.
    """

    status: int = 200
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    media: BinaryIO | None = None
    start: int = 0
    length: int = 0
    is_unpacked: bool = False


def json_answer(body: object, status: int = 200) -> Answer:
    """Return an answer in JSON."""
    return Answer(status, json.dumps(body).encode(), {"Content-Type": JSON_TYPE})


def error_answer(error: ApiError) -> Answer:
    """Return the answer of the JSON API to a refused request.

    Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes.
    """
    if error.code == 304:
        return Answer(304)
    details = {"message": error.message, "domain": "global", "reason": error.reason}
    if error.reason == "conditionNotMet":
        details |= {"locationType": "header", "location": "If-Match"}
    return json_answer({"error": {"code": error.code, "message": error.message, "errors": [details]}}, error.code)


def json_object(text: bytes) -> Resource:
    """Return a JSON object; an empty one for no text.

    Raises:
        ApiError: 400, it is none.
    """
    try:
        found = json.loads(text or b"{}")
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "parseError", f"Parse Error: {error}") from None
    if not isinstance(found, dict):
        raise ApiError(400, "parseError", "Parse Error: an object is expected.")
    return found


def decoded(text: str) -> str:
    """Return a name without its percent escapes.

    Raises:
        ApiError: 400, it is not UTF-8.
    """
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ApiError(400, "invalid", "A name must be UTF-8.") from None


def invalid(message: str) -> ApiError:
    """The request cannot be carried out as it is."""
    return ApiError(400, "invalid", message)


def missing(what: str) -> ApiError:
    """Cloud Storage has this, the local one has not. Not 501: clients would ask again and again."""
    return ApiError(400, "notSupported", f"The local Cloud Storage does not support {what}.")


Mask = dict[str, Any]
"""Selected fields: each with the mask of what is in it, empty for all of it."""


def partial_answer(resource: Any, selection: str) -> Any:
    """Return the fields of an answer that a client wants (`fields=items(name,size),nextPageToken`).

    Source: https://cloud.google.com/storage/docs/json_api#partial-response.

    Args:
        resource: the whole answer.
        selection: the parameter `fields`.

    Raises:
        ApiError: 400, the selection has no sense.
    """
    tokens = re.findall(r"[^,/()]+|[,/()]", re.sub(r"\s", "", selection[: _LONGEST_MASK + 1]))
    if len(selection) > _LONGEST_MASK:
        raise _bad_selection(selection)
    mask, rest = _read_mask(tokens, selection, 0)
    if rest:
        raise _bad_selection(selection)
    return _select(resource, mask)


def _read_mask(tokens: list[str], selection: str, depth: int) -> tuple[Mask, list[str]]:
    mask: Mask = {}
    while True:
        inner = mask
        while True:
            if depth > _DEEPEST_MASK or not tokens or tokens[0] in ",/()":
                raise _bad_selection(selection)
            inner, tokens = inner.setdefault(tokens[0], {}), tokens[1:]
            if not tokens or tokens[0] != "/":
                break
            tokens = tokens[1:]
        if tokens and tokens[0] == "(":
            below, tokens = _read_mask(tokens[1:], selection, depth + 1)
            inner.update(below)
            if not tokens or tokens[0] != ")":
                raise _bad_selection(selection)
            tokens = tokens[1:]
        if not tokens or tokens[0] != ",":
            return mask, tokens
        tokens = tokens[1:]


def _select(value: Any, mask: Mapping[str, Any]) -> Any:
    if not mask or mask.get("*") == {}:
        return value
    if isinstance(value, list):
        return [_select(each, mask) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _select(each, mask.get(name, mask.get("*", {})))
        for name, each in value.items()
        if name in mask or "*" in mask
    }


def _bad_selection(selection: str) -> ApiError:
    return ApiError(400, "invalidParameter", f"Invalid field selection {selection[:100]}")
