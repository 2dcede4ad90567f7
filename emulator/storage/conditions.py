"""Preconditions of requests (https://cloud.google.com/storage/docs/request-preconditions)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.storage.requests import Request, invalid
from cos_customizer.emulator.storage.resources import etag

_MESSAGE = "At least one of the pre-conditions you specified did not hold."
_KINDS = {
    # Each with its field, and whether it is to be equal.
    "GenerationMatch": ("generation", True),
    "GenerationNotMatch": ("generation", False),
    "MetagenerationMatch": ("metageneration", True),
    "MetagenerationNotMatch": ("metageneration", False),
}


@dataclass(frozen=True)
class Conditions:
    """What has to hold before a request is carried out.

    Attributes:
        numbers: by kind, such as `GenerationMatch`.
        tags: the headers `If-Match` and `If-None-Match`, as far as they were sent.
        is_read: whether the request changes nothing: then the answer may be 304.
    """

    numbers: Mapping[str, int]
    tags: Mapping[str, str]
    is_read: bool = False

    @classmethod
    def of(cls, request: Request, prefix: str = "if") -> "Conditions":
        """Return the conditions of a request of the JSON API.

        Args:
            request: that has them.
            prefix: `ifSource` for those on the source of a copy.

        Raises:
            ApiError: 400, one is no number.
        """
        found = {kind: request.number(prefix + kind) for kind in _KINDS}
        headers = ("If-Match", "If-None-Match") if prefix == "if" else ()
        tags = {name: request.headers[name] for name in headers if name in request.headers}
        is_read = request.method in ("GET", "HEAD")
        return cls({kind: number for kind, number in found.items() if number is not None}, tags, is_read)

    @classmethod
    def in_headers(cls, request: Request) -> "Conditions":
        """Return the conditions of a request of the XML API.

        Raises:
            ApiError: 400, one is no number.
        """
        numbers = {}
        for kind in ("GenerationMatch", "MetagenerationMatch"):
            name = f"x-goog-if-{kind.removesuffix('Match').lower()}-match"
            text = request.headers.get(name)
            if text is not None and not (text.isascii() and text.isdecimal() and len(text) < 20):
                raise invalid(f"Invalid value for header '{name}': '{text[:100]}'.")
            if text is not None:
                numbers[kind] = int(text)
        return cls(numbers, {}, request.method in ("GET", "HEAD"))

    def check(self, resource: Mapping[str, Any] | None) -> None:
        """Refuse the request unless they hold.

        Args:
            resource: the present object or bucket; None if there is none.

        Raises:
            ApiError: 412, or 304 for what a reader has already.
        """
        for kind, number in self.numbers.items():
            field, is_equal = _KINDS[kind]
            # What is not there has generation 0, and no metageneration.
            present = int(resource[field]) if resource else 0 if field == "generation" else None
            if (present == number) != is_equal:
                raise self._refusal(is_equal)
        tag = etag(resource) if resource else None
        if "If-Match" in self.tags and not _names(self.tags["If-Match"], tag):
            raise self._refusal(True)
        if "If-None-Match" in self.tags and _names(self.tags["If-None-Match"], tag):
            raise self._refusal(False)

    def _refusal(self, is_equal: bool) -> ApiError:
        return ApiError(304 if self.is_read and not is_equal else 412, "conditionNotMet", _MESSAGE)


def _names(tags: str, tag: str | None) -> bool:
    named = [each.strip().removeprefix("W/").strip('"') for each in tags.split(",")]
    return tag is not None and ("*" in named or tag in named)
