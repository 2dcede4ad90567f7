"""What a fleet's run has cost: processors and memory of each part, calls a minute by what Google counts together."""

import json
import os
import re
import threading
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from http.client import OK
from pathlib import Path
from typing import Any

_TICK = float(os.sysconf("SC_CLK_TCK"))
_INTERVAL = 3.0
_INSERTS = re.compile(r"POST \S*/global/images(\?|$)")
_LAST = 2_000
"""Calls that the emulator is asked for at a time: more than are made in an interval."""
GROUPS = (
    ("serial console reads", r"^GET .*/serialPort\b"),
    ("waits for operations", r"^POST .*/operations/[^/]+/wait\b"),
    ("changes of images", r"^(POST|PATCH|DELETE) .*/global/images\b"),
    ("changes of VMs and disks", r"^(POST|PATCH|DELETE) .*/zones/"),
    ("lists", r"^GET .*/(images|instances|disks|zones|operations|aggregated/\w+)(\?|$)"),
    ("other reads", r"^GET "),
)
"""Groups of Compute Engine's quotas, roughly: https://cloud.google.com/compute/api-quota."""


def group(method: str, path: str) -> str:
    """The group of a call to Compute Engine."""
    return next((name for name, pattern in GROUPS if re.search(pattern, f"{method} {path}")), "others")


class Processes:
    """Processor time and memory of programs and all that they start, as long as they can be seen."""

    def __init__(self) -> None:
        self._parts: dict[int, str] = {}
        self._seconds: dict[int, float] = {}
        self._most: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, part: str, pid: int) -> None:
        """Count a process and its descendants as part of something."""
        with self._lock:
            self._parts[pid] = part

    def look(self) -> None:
        """Take the figures of now."""
        children, ticks = defaultdict(list), {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    children[int(fields[1])].append(int(entry.name))
                    ticks[int(entry.name)] = sum(map(int, fields[11:15]))  # with those of children that have ended

        def tree(pid: int) -> Iterator[int]:
            yield pid
            for child in children[pid]:
                yield from tree(child)

        memory: Counter[str] = Counter()
        with self._lock:
            for root, part in self._parts.items():
                if root in ticks:
                    found = [pid for pid in tree(root) if pid in ticks]
                    self._seconds[root] = max(self._seconds.get(root, 0), sum(ticks[pid] for pid in found) / _TICK)
                    memory[part] += sum(map(_memory, found))
            for part, size in memory.items():
                self._most[part] = max(self._most[part], size)

    @property
    def seconds(self) -> dict[str, float]:
        """Of processor time, by part."""
        total: Counter[str] = Counter()
        for root, seconds in self._seconds.items():
            total[self._parts[root]] += seconds  # type: ignore[assignment]  # a counter of floats
        return dict(total)

    @property
    def most_memory(self) -> dict[str, int]:
        """The most MiB at once, by part, where what is shared counts by share."""
        return {part: size >> 20 for part, size in self._most.items()}


def _memory(pid: int) -> int:
    with suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) << 10 if found else 0
    return 0


class Calls:
    """The requests that the emulator has answered, those to Compute Engine by group and minute."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/emulator"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._seen = 0.0
        self.most_vms = 0
        self.images_made = 0
        self.by_service: Counter[str] = Counter()
        self.by_group: Counter[str] = Counter()
        self._by_minute: Counter[tuple[str, int]] = Counter()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the emulator's own API."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._address}/{path}", data, headers={"Content-Type": "application/json"})
        with self._opener.open(request, timeout=120) as answer:
            return json.loads(answer.read() or b"null")

    def forget(self) -> None:
        """Leave out all calls so far."""
        self.look()
        self.images_made = 0
        for counter in (self.by_service, self.by_group, self._by_minute):
            counter.clear()

    def look(self) -> None:
        """Count the calls since the last look."""
        answer = self.ask(f"calls?last={_LAST}")
        latest = self._seen
        for call in answer["calls"]:
            if call["time"] > self._seen:
                latest = max(latest, call["time"])
                self.by_service[call["service"]] += 1
                self.images_made += bool(_INSERTS.match(f"{call['method']} {call['path']}")) and call["status"] == OK
                if call["service"] == "compute":
                    kind = group(call["method"], call["path"])
                    self.by_group[kind] += 1
                    self._by_minute[kind, int(call["time"] // 60)] += 1
        self._seen = latest

    def count_vms(self) -> None:
        """Take the number of VMs of now."""
        self.most_vms = max(self.most_vms, self.ask("status")["instances"])

    def peak(self, kind: str) -> int:
        """The most calls of a group in a minute."""
        return max((count for (name, _), count in self._by_minute.items() if name == kind), default=0)


class Watch:
    """Takes figures every few seconds while it is entered."""

    def __init__(self, processes: Processes, calls: Calls) -> None:
        self._processes, self._calls = processes, calls
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        self._processes.look()
        with suppress(OSError):  # an emulator that is stalled
            self._calls.look()
            self._calls.count_vms()
