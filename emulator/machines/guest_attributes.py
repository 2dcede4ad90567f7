"""What a guest says of itself by its metadata server, for programs outside to read.

Follows https://cloud.google.com/compute/docs/metadata/manage-guest-attributes.
"""

import re
import threading
from collections.abc import Mapping

ENABLED = "enable-guest-attributes"
"""The key of the metadata, of an instance or of its project, that must be TRUE."""
DISABLED = "Guest attributes endpoint access is disabled."
"""What those are answered who ask although it is not."""
LONGEST_VALUE = 256 << 10
"""Bytes of one value."""
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def are_enabled(attributes: Mapping[str, str], project_attributes: Mapping[str, str]) -> bool:
    """Return whether a guest may have guest attributes.

    Args:
        attributes: metadata of the instance, which goes first.
        project_attributes: metadata of its project.
    """
    return attributes.get(ENABLED, project_attributes.get(ENABLED, "")).lower() in ("true", "1", "y", "yes")


class GuestAttributes:
    """The guest attributes of one machine, in memory. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def all(self) -> dict[str, dict[str, str]]:
        """Return the values by namespace and key, in order."""
        with self._lock:
            return {namespace: dict(sorted(values.items())) for namespace, values in sorted(self._values.items())}

    def put(self, path: str, value: str) -> None:
        """Set a value.

        Args:
            path: `NAMESPACE/KEY`.
            value: the new one.

        Raises:
            ValueError: there can be no such attribute, or the value is too long.
        """
        namespace, _, key = path.partition("/")
        if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(key)):
            raise ValueError(f"'{path[:300]}' must be NAMESPACE/KEY, each of 1 to 128 of a-z, A-Z, 0-9, - and _")
        if len(value.encode()) > LONGEST_VALUE:
            raise ValueError(f"the value of {path} is longer than {LONGEST_VALUE} bytes")
        with self._lock:
            self._values.setdefault(namespace, {})[key] = value

    def delete(self, path: str) -> bool:
        """Remove a value; returns whether there was one.

        Args:
            path: `NAMESPACE/KEY`.
        """
        namespace, _, key = path.partition("/")
        with self._lock:
            values = self._values.get(namespace, {})
            found = values.pop(key, None) is not None
            if not values:
                self._values.pop(namespace, None)
            return found
