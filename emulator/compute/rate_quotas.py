"""Rate quotas: how many requests of a group a project may make in a minute, as far as somebody has set a limit.

Source: https://cloud.google.com/compute/api-quota. Each group is counted for itself, and refilled at each full minute.
"""

import re
import threading
from collections import Counter
from typing import Any

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute.store import Store
from cos_customizer.emulator.compute.zones import REGIONS, region_of
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.projects import project_number

PREFIX = "compute.googleapis.com/"
"""How the names of metrics begin, which tells them from those of what may run."""
_LIMITS = "emulator/rateQuotas"
_MINUTE = 60

_IN_REGION = r"/(?:zones|regions)/(?P<place>[^/?]+)"
_GROUPS = (
    # The first that a request fits is its group: method, path below the project, metric, the limit's name.
    ("GET", rf"{_IN_REGION}/instances/[^/]+/serialPort$", "get_serial_port_output_requests_per_region",
     "GetSerialPortOutputRequestsPerMinutePerProjectPerRegion"),
    ("POST", rf"{_IN_REGION}/operations/[^/]+/wait$", "heavy_weight_read_requests_per_region",
     "HeavyWeightReadRequestsPerMinutePerRegion"),
    ("GET", rf"{_IN_REGION}/operations/[^/]+$", "operation_read_requests_per_region",
     "OperationReadRequestsPerMinutePerRegion"),
    ("GET", rf"{_IN_REGION}/[^/]+$", "list_requests_per_region", "ListRequestsPerMinutePerRegion"),
    ("GET", _IN_REGION, "read_requests_per_region", "ReadRequestsPerMinutePerRegion"),
    ("", rf"{_IN_REGION}/disks/[^/]+/createSnapshot$", "global_resource_write_requests_per_region",
     "GlobalResourceWriteRequestsPerMinutePerProjectPerRegion"),
    ("", _IN_REGION, "default_per_region", "QueriesPerMinutePerRegion"),
    ("GET", r"/aggregated/", "heavy_weight_read_requests", "HeavyWeightReadRequestsPerMinutePerProject"),
    ("GET", r"/global/operations/[^/]+$", "operation_read_requests", "OperationReadRequestsPerMinutePerProject"),
    ("GET", r"/global/[^/]+$|/(?:zones|regions)$", "list_requests", "ListRequestsPerMinutePerProject"),
    ("GET", r"", "read_requests", "ReadRequestsPerMinutePerProject"),
    ("", r"/global/(?:images|snapshots|machineImages)\b", "global_resource_write_requests",
     "GlobalResourceWriteRequestsPerMinutePerProject"),
    ("", r"", "default", "defaultPerMinutePerProject"),
)  # fmt: skip
METRICS = {PREFIX + metric: limit for _, _, metric, limit in _GROUPS}
"""The name of each metric's limit."""


class RateQuotas:
    """The rate quotas of all projects: limits are the same in each, usage is its own. Any thread may call it.

    Args:
        store: keeps the limits.
        clock: says which minute it is.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = 0
        self._used: Counter[tuple[str, str, str]] = Counter()

    def limits(self) -> list[dict[str, Any]]:
        """Return the limits that were set."""
        return [{"metric": metric, "limit": limit} for metric, limit in sorted(self._kept().items())]

    def set_limit(self, metric: str, limit: float) -> None:
        """Set a limit, in every region where the metric counts by region.

        Args:
            metric: for example `compute.googleapis.com/read_requests`.
            limit: requests a minute; negative for as many as one likes.

        Raises:
            ApiError: 400, there is no such metric.
        """
        _check(metric)
        with self._store.lock:
            limits = self._kept()
            limits.pop(metric, None)
            if limit >= 0:
                limits[metric] = float(int(limit))
            self._store.put(_LIMITS, limits)

    def count(self, project: str, method: str, path: str) -> None:
        """Count a request.

        Args:
            project: its project.
            method: of HTTP.
            path: below the project, without the query.

        Raises:
            ApiError: 403, the project has made as many in this minute as it may.
        """
        limits = self._kept()
        if not limits:
            return
        metric, region = _group_of(method, path)
        limit = limits.get(metric)
        with self._lock:
            if (minute := int(self._clock.now() // _MINUTE)) != self._minute:
                self._minute = minute
                self._used.clear()
            if limit is not None and self._used[project, metric, region] >= limit:
                message = (
                    f"Quota exceeded for quota metric '{metric}' and limit '{METRICS[metric]}' of service "
                    f"'compute.googleapis.com' for consumer 'project_number:{project_number(project)}'."
                )
                raise ApiError(403, "rateLimitExceeded", message)
            self._used[project, metric, region] += 1

    def shown(self, project: str, metric: str) -> dict[str, Any]:
        """Return a metric as Service Usage shows it.

        Source: https://cloud.google.com/service-usage/docs/reference/rest/v1beta1/services.consumerQuotaMetrics.

        Raises:
            ApiError: 404, there is no such metric.
        """
        if metric not in METRICS:
            raise ApiError(404, "notFound", f"Quota metric '{metric}' not found.")
        consumer = f"projects/{project_number(project)}/services/compute.googleapis.com"
        name = f"{consumer}/consumerQuotaMetrics/{metric.replace('/', '%2F')}"
        unit = "1/min/{project}" + ("/{region}" if metric.endswith("_per_region") else "")
        limit = str(int(self._kept().get(metric, -1)))
        bucket = {"effectiveLimit": limit, "defaultLimit": limit}
        regions = [{**bucket, "dimensions": {"region": region}} for region in REGIONS] if "region" in unit else []
        limits = {
            "name": f"{name}/limits/{unit.removeprefix('1').replace('/', '%2F')}",
            "metric": metric,
            "unit": unit,
            "quotaBuckets": [bucket, *regions],
        }
        return {"name": name, "metric": metric, "unit": "1", "consumerQuotaLimits": [limits]}

    def _kept(self) -> dict[str, float]:
        return dict(self._store.find(_LIMITS) or {})


def _check(metric: str) -> None:
    if metric not in METRICS:
        raise ApiError(400, "invalid", f"No rate quota '{metric}'; there is {', '.join(sorted(METRICS))}.")


def _group_of(method: str, path: str) -> tuple[str, str]:
    """Return the metric that a request counts for, and the region if it counts by region."""
    for verb, pattern, metric, _ in _GROUPS:
        if verb in ("", method) and (found := re.search(pattern, path)):
            place = found.groupdict().get("place", "")
            return PREFIX + metric, place if place in REGIONS else region_of(place) if place else ""
    raise AssertionError("the last group takes every request")
