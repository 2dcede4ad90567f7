"""Labels, and the fingerprints by which a client shows that it knows the present state of what it changes."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cos_customizer.emulator.compute.instant_changes import change_at_once
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError, invalid


def fingerprint(content: object) -> str:
    """A fingerprint of labels, tags or metadata: 8 bytes in base64, as the API has it."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()[:8]
    return base64.urlsafe_b64encode(digest).decode()


def check_fingerprint(given: str | None, content: object, what: str) -> None:
    """Refuse a change that was made without knowing the present state.

    Nothing there yet needs no fingerprint.

    Raises:
        ApiError: 412.
    """
    if given != fingerprint(content) and (given or content):
        raise ApiError(412, "conditionNotMet", f"{what} fingerprint either invalid or resource {what.lower()} changed")


def check_labels(labels: Mapping[str, str], field: str = "resource.labels") -> dict[str, str]:
    """Return the labels if Compute Engine would take them (https://cloud.google.com/compute/docs/labeling-resources).

    Raises:
        ApiError: 400.
    """
    if len(labels) > 64:
        raise invalid(field, len(labels), "Must be at most 64 labels.")
    for key, value in labels.items():
        if not (0 < len(key) <= 63 and key[0].isalpha() and _label_text(key)):
            why = "Keys start with a lower-case letter; lower-case letters, digits, '-' and '_', at most 63."
            raise invalid(field, key, why)
        if len(value) > 63 or not _label_text(value):
            why = f"Value of label '{key}': lower-case letters, digits, '-' and '_', at most 63."
            raise invalid(field, value, why)
    return dict(labels)


def _label_text(text: str) -> bool:
    return all(c in "-_" or c.isdigit() or (c.isalpha() and not c.isupper()) for c in text)


def set_labels(shared: SharedParts, path: str, body: dict[str, Any]) -> Resource:
    """Replace a resource's labels; returns the operation.

    Args:
        shared: holds the resource.
        path: of the resource.
        body: with `labels` and `labelFingerprint`, checked against the schema.

    Raises:
        ApiError: 404, 412 for an outdated fingerprint, 400 for bad labels.
    """
    resource = shared.store.get(path)
    check_fingerprint(body.get("labelFingerprint"), resource.get("labels", {}), "Labels")
    labels = check_labels(body.get("labels", {}), "labels")
    return change_at_once(shared, path, "setLabels", labels=labels or None, labelFingerprint=fingerprint(labels))
