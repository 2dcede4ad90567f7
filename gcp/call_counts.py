"""How many calls this process makes a minute, by the groups that Compute Engine counts them in for its rate quotas.

Source: https://cloud.google.com/compute/api-quota. Regions are not told apart.
"""

import re
import threading
from collections import Counter
from time import time
from typing import Any
from urllib.parse import urlsplit

import requests

from cos_customizer.customizer.reporting.calls_a_minute import CallsByMinute

_GROUPS = (
    # The first that a call fits is its group: name, method, path.
    ("reads of serial consoles", "GET", r"/serialPort$"),
    ("waits for operations", "POST", r"/operations/[^/]+/wait$"),
    ("changes of images", "(?!GET)", r"/global/images\b"),
    ("reads of operations", "GET", r"/operations/[^/]+$"),
    ("lists", "GET", r"/(?:global|zones/[^/]+|regions/[^/]+|aggregated)/[^/]+$|/(?:zones|regions)$"),
    ("reads", "GET", ""),
    ("other changes", "", ""),
)
_COMPUTE = re.compile(r"/compute/(?:v1|beta|alpha)/projects/")
_STORAGE = "Cloud Storage"


class CallCounts:
    """Counts the calls of this process, in whatever thread they are made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minutes: CallsByMinute = {}

    def note(self, response: requests.Response, *_arguments: Any, **_options: Any) -> None:
        """Count an answered call: a hook of a session of requests."""
        group = group_of(str(response.request.method), str(response.request.url))
        with self._lock:
            self._minutes.setdefault(int(time() // 60), Counter())[group] += 1

    def since(self, moment: float) -> CallsByMinute:
        """The calls of the minutes from a moment on.

        Args:
            moment: Unix time.
        """
        with self._lock:
            return {minute: Counter(found) for minute, found in self._minutes.items() if minute >= moment // 60}


counts = CallCounts()
"""Of this process."""


def group_of(method: str, url: str) -> str:
    """The group that a call counts in.

    Args:
        method: of HTTP.
        url: of the call.
    """
    path = urlsplit(url).path
    if not _COMPUTE.search(path):
        return _STORAGE
    return next(name for name, verb, place in _GROUPS if re.match(verb, method) and re.search(place, path))
