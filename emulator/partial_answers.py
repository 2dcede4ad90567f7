"""Partial answers: the parameter `fields` of Google's JSON APIs.

Source: https://cloud.google.com/compute/docs/api/how-tos/performance#partial-response.
"""

from typing import Any

from cos_customizer.emulator.errors import ApiError

Selection = dict[str, "Selection"]
"""Names of fields, each with what is wanted of it; nothing stands for all of it. `*` is any name."""


def selected(body: Any, fields: str) -> Any:
    """Return the part of an answer that a request asks for.

    Args:
        body: the answer, as decoded JSON.
        fields: for example `kind,items(name,disks/source)`.

    Raises:
        ApiError: 400, the text is no selection.
    """
    selection, rest = _parse(fields)
    if rest or not selection:
        raise ApiError(400, "invalidParameter", f"Invalid field selection {fields}")
    return _select(body, selection)


def _parse(text: str) -> tuple[Selection, str]:
    """Read a list of fields up to its closing parenthesis; returns it, and the text from there on."""
    found: Selection = {}
    while True:
        end = next((place for place, char in enumerate(text) if char in ",()"), len(text))
        path, text = text[:end].strip(), text[end:]
        names = path.split("/")
        if not all(names):
            raise ApiError(400, "invalidParameter", f"Invalid field selection {path or text}")
        inner = found
        for name in names:
            inner = inner.setdefault(name, {})
        if text.startswith("("):
            below, text = _parse(text[1:])
            if not text.startswith(")"):
                raise ApiError(400, "invalidParameter", f"Invalid field selection {path}: a parenthesis is missing")
            inner.update(below)
            text = text[1:]
        if not text.startswith(","):
            return found, text
        text = text[1:]


def _select(value: Any, wanted: Selection) -> Any:
    if not wanted:
        return value
    if isinstance(value, list):
        return [_select(each, wanted) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, inner in value.items():
        if name in wanted or "*" in wanted:
            kept[name] = _select(inner, wanted.get(name, wanted.get("*", {})))
    return kept
