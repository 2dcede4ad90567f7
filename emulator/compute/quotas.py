"""Quotas of GPUs, by region and in all regions: limits that can be set, and how many GPUs running instances have."""

from typing import Any

from cos_customizer.emulator.compute.gpus import GPUS
from cos_customizer.emulator.compute.references import last
from cos_customizer.emulator.compute.statuses import InstanceStatus
from cos_customizer.emulator.compute.store import Resource, Store
from cos_customizer.emulator.compute.zones import REGIONS, region_of
from cos_customizer.emulator.errors import ApiError, OperationError

EVERYWHERE = "GPUS_ALL_REGIONS"
INSTANCES = "INSTANCES"
"""How many instances of all projects may run here: each is a machine that takes of this one."""
DEFAULT_LIMIT = 8.0
_LIMITS = "emulator/quotas"
_METRICS = [gpu.metric for gpu in GPUS.values() if gpu.metric]


class Quotas:
    """The quotas of all projects: limits are the same in each, usage is its own.

    Args:
        store: holds the instances, and keeps the limits.
        most_machines: how many instances may run unless another limit is set.
    """

    def __init__(self, store: Store, most_machines: int) -> None:
        self._store = store
        self._defaults = {INSTANCES: float(most_machines)}

    def limits(self) -> list[dict[str, Any]]:
        """Return the limits that were set; an entry without `region` counts in all regions."""
        limits: list[dict[str, Any]] = []
        for key, limit in sorted((self._store.find(_LIMITS) or {}).items()):
            region, _, metric = key.partition("/")
            entry = {"metric": metric, "limit": limit}
            limits.append({"region": region, **entry} if region else entry)
        return limits

    def set_limit(self, region: str, metric: str, limit: float) -> None:
        """Set a limit.

        Args:
            region: its region; empty for `GPUS_ALL_REGIONS` and `INSTANCES`.
            metric: for example `NVIDIA_T4_GPUS`.
            limit: how many there may be; negative for the default.

        Raises:
            ApiError: 400, there is no such region or metric.
        """
        known = _METRICS if region else [EVERYWHERE, INSTANCES]
        if metric not in known:
            raise ApiError(400, "invalid", f"No quota '{metric}' {_place(region)}; there is {', '.join(known)}.")
        if region and region not in REGIONS:
            raise ApiError(400, "invalid", f"No region '{region}'.")
        key = f"{region}/{metric}"
        with self._store.lock:
            limits = dict(self._store.find(_LIMITS) or {})
            limits.pop(key, None)
            if limit >= 0:
                limits[key] = float(limit)
            self._store.put(_LIMITS, limits)

    def of_region(self, project: str, region: str) -> list[dict[str, Any]]:
        """Return a region's quotas as its resource shows them."""
        usage = self._usage(project)
        return [_shown(metric, self._limit(region, metric), usage.get((region, metric), 0)) for metric in _METRICS]

    def of_project(self, project: str) -> list[dict[str, Any]]:
        """Return a project's quotas as its resource shows them."""
        return [_shown(EVERYWHERE, self._limit("", EVERYWHERE), self._usage(project).get(("", EVERYWHERE), 0))]

    def excess(self, project: str, zone: str, instance: Resource) -> OperationError | None:
        """Return the error that keeps an instance from starting, or None. The caller holds the store's lock.

        Args:
            project: its project.
            zone: its zone.
            instance: its resource; it is not running.
        """
        stored = self._store.stored()
        running = [
            each for path, each in stored if "/instances/" in path and InstanceStatus(each["status"]).counts_for_quota
        ]
        if len(running) + 1 > (most := self._limit("", INSTANCES)):
            return _exceeded("", INSTANCES, most)
        usage = self._usage(project)
        for (region, metric), wanted in _needs(zone, instance).items():
            limit = self._limit(region, metric)
            if usage.get((region, metric), 0) + wanted > limit:
                return _exceeded(region, metric, limit)
        return None

    def _limit(self, region: str, metric: str) -> float:
        kept: dict[str, float] = self._store.find(_LIMITS) or {}
        return kept.get(f"{region}/{metric}", self._defaults.get(metric, DEFAULT_LIMIT))

    def _usage(self, project: str) -> dict[tuple[str, str], int]:
        total: dict[tuple[str, str], int] = {}
        for path, instance in self._store.under(f"projects/{project}/zones/-/instances"):
            if InstanceStatus(instance["status"]).counts_for_quota:
                for key, number in _needs(path.split("/")[3], instance).items():
                    total[key] = total.get(key, 0) + number
        return total


def _needs(zone: str, instance: Resource) -> dict[tuple[str, str], int]:
    """Return how many GPUs an instance takes of which quota, by region (empty: of all regions) and metric."""
    needs: dict[tuple[str, str], int] = {}
    for accelerator in instance.get("guestAccelerators", []):
        number = accelerator["acceleratorCount"]
        metric = GPUS[last(accelerator["acceleratorType"])].metric
        regional = [(region_of(zone), metric)] if metric else []
        for quota in [*regional, ("", EVERYWHERE)]:
            needs[quota] = needs.get(quota, 0) + number
    return needs


def _shown(metric: str, limit: float, usage: int) -> dict[str, Any]:
    return {"metric": metric, "limit": limit, "usage": float(usage)}


def _place(region: str) -> str:
    return f"in region {region}" if region else "globally"


def _exceeded(region: str, metric: str, limit: float) -> OperationError:
    name = metric.replace("_", "-")
    info = {
        "metricName": f"compute.googleapis.com/{metric.lower()}",
        "limitName": f"{name}-per-project-region" if region else f"{name}-per-project",
        "dimensions": {"region": region or "global"},
        "limit": limit,
    }
    details = [{"quotaInfo": info}]
    return OperationError(
        "QUOTA_EXCEEDED", f"Quota '{metric}' exceeded.  Limit: {limit} {_place(region)}.", 403, details
    )
