"""What a fleet has cost, and what therefore limits a larger one, as tables of Markdown."""

from collections.abc import Iterable, Iterator

from support.fleet_figures import GROUPS
from support.fleet_place import UPKEEP, FleetPlace
from support.fleet_recipes import Fleet

_MIB = 1 << 20
_SERVER = ("api-1", "api-2", "services", "postgres", "redis", "proxy")
_PARTS = ("workers", *_SERVER, "emulator")
_QUOTA = 1500
"""Calls a minute that a project has of most groups (https://cloud.google.com/compute/api-quota, as of April 2026)."""
_TABLES = ("flow_run", "task_run", "events", "log", "artifact")


def report(place: FleetPlace, fleet: Fleet, minutes: float) -> str:
    """Both tables.

    Args:
        place: where it was built; still there.
        fleet: what was built.
        minutes: that all runs of `rebuild-images` have taken.
    """
    limits = [("a build needs", "so there are at most, builds a minute"), *_limits(place, fleet)]
    cost = [("what", "how much"), *_cost(place, fleet, minutes)]
    return f"{_table(cost)}\n\n{_table(limits)}"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    head, *others = (f"| {what} | {how_much} |" for what, how_much in rows)
    return "\n".join([head, "|---|---|", *others])


def _cost(place: FleetPlace, fleet: Fleet, minutes: float) -> Iterator[tuple[str, str]]:
    seconds, memory, calls, built = place.processes.seconds, place.processes.most_memory, place.calls, fleet.changed
    yield "recipes, changed", f"{fleet.recipes}, {built}"
    yield "minutes, all runs of `rebuild-images`", f"{minutes:.1f}"
    yield "builds a minute", f"{built / minutes:.1f}"
    yield "most VMs at once", f"{calls.most_vms}"
    for part in filter(seconds.__contains__, _PARTS):
        yield (
            f"CPU of {part}: s, s a build; most MiB",
            f"{seconds[part]:.0f}, {seconds[part] / built:.2f}; {memory[part]}",
        )
    total = sum(calls.by_group.values())
    yield "calls to Compute Engine: all, a build", f"{total}, {total / built:.1f}"
    for kind, _ in GROUPS:
        yield f"{kind}: all, most in a minute", f"{calls.by_group[kind]}, {calls.peak(kind)}"
    others = (f"{name} {count}" for name, count in sorted(calls.by_service.items()) if name != "compute")
    yield "calls to other services", ", ".join(others)
    for table, count in _rows(place).items():
        yield f"rows of {table}: all, a build", f"{count}, {count / built:.1f}"
    ((size, commits),) = place.server.query(
        "select pg_database_size(datname), xact_commit from pg_stat_database where datname = 'prefect'"
    )
    a_second = int(commits) / minutes / 60
    yield "database: MiB; transactions, a second", f"{int(size) / _MIB:.0f}; {commits}, {a_second:.0f}"
    yield "Redis: most memory", place.server.redis("info", "memory").partition("used_memory_peak_human:")[2].split()[0]
    for name in UPKEEP:
        upkeep = place.upkeep(name)
        yield f"runs of {name}; the longest pause between two", f"{len(upkeep.runs)}; {upkeep.longest_pause:.0f} s"


def _rows(place: FleetPlace) -> dict[str, int]:
    return {table: int(place.server.query(f"select count(*) from {table}")[0][0]) for table in _TABLES}


def _limits(place: FleetPlace, fleet: Fleet) -> Iterator[tuple[str, str]]:
    """What each part takes for a build, and how many builds a minute use it up: a core, or a quota of Google's."""
    seconds, built = place.processes.seconds, fleet.changed
    parts = {
        "of workers": seconds.get("workers", 0.0),
        "of the API's replicas": seconds.get("api-1", 0.0) + seconds.get("api-2", 0.0),
        "of the services, which are one process": seconds.get("services", 0.0),
        "of PostgreSQL": seconds.get("postgres", 0.0),
        "of Redis and the proxy": seconds.get("redis", 0.0) + seconds.get("proxy", 0.0),
    }
    for part, used in parts.items():
        if used:
            yield f"{used / built:.2f} s of CPU {part}", f"{60 * built / used:.0f} for each core"
    for kind, _ in GROUPS:
        if count := place.calls.by_group[kind]:
            yield f"{count / built:.1f} {kind}", f"{_QUOTA * built / count:.0f} with a quota of {_QUOTA:,} a minute"
