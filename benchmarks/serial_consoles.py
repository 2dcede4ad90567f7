"""What it costs to follow a hundred serial consoles, and how much of the quota it takes, in several processes."""

import heapq
import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import PROJECT, ZONE, Cloud, Figure, request
from cos_customizer.customizer.names import BUILD_LABEL

_CONSOLES = 100
_PROCESSES = 4
_SECONDS = 60.0
_LINE_EVERY = 5.0
METRIC = "compute.googleapis.com/get_serial_port_output_requests_per_region"
"""The quota of reads."""
_QUOTA = 1500


class _Followed(NamedTuple):
    """What one process saw: further threads, further MiB, bytes lost, consoles that said something."""

    threads: int
    memory: float
    lost: int
    heard: int


def measure(cloud: Cloud) -> Iterator[Figure]:
    """Measure.

    Args:
        cloud: to run against.
    """
    cloud.ask("DELETE", "scripts")
    lines = [{"after": _LINE_EVERY, "text": f"BuildStatus: line {number}\r\n"} for number in range(1000)]
    cloud.ask("POST", "scripts", {"match": {"name": "console-.*"}, "variables": {}, "events": lines})
    instances = (
        f"{cloud.environment['CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE']}projects/{PROJECT}/zones/{ZONE}/instances"
    )
    names = [f"console-{number}" for number in range(_CONSOLES)]
    for name in names:
        request("POST", instances, _instance(name))
    for name in names:
        while request("GET", f"{instances}/{name}")["status"] != "RUNNING":
            time.sleep(0.05)
    cloud.ask("DELETE", "calls")
    cloud.ask("POST", "quotas", {"metric": METRIC, "limit": _QUOTA})
    parts = [(cloud.environment, names[number::_PROCESSES]) for number in range(_PROCESSES)]
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        followed = pool.starmap(_follow, parts)
    calls = cloud.ask("GET", "calls?path=/serialPort")["count"]
    cloud.ask("POST", "quotas", {"metric": METRIC, "limit": -1})
    for name in names:
        request("DELETE", f"{instances}/{name}")
    seen = sum(each.heard for each in followed)
    assert seen == _CONSOLES, f"only {seen} consoles were heard of"
    what = f"{_CONSOLES} serial consoles in {_PROCESSES} processes"
    memory = max(each.memory for each in followed) * _PROCESSES / _CONSOLES
    yield Figure(f"{what}, further threads of one", max(each.threads for each in followed), 16, "")
    yield Figure(f"{what}, memory of each", memory, 10, "MiB")
    yield Figure(f"{what}, a line every {_LINE_EVERY:g} s, calls", calls * 60 / _SECONDS, _QUOTA / 2, "/min")
    yield Figure(f"{what}, bytes lost", sum(each.lost for each in followed), 0, "")


def _follow(environment: dict[str, str], names: list[str]) -> _Followed:
    """Follow some of them."""
    from cos_customizer.customizer.references import VmRef
    from cos_customizer.gcp.clients import connect
    from cos_customizer.gcp.serial_console import SerialConsole

    clients = connect(environment)
    consoles = [SerialConsole(clients, VmRef(PROJECT, ZONE, name), 3) for name in names]
    consoles[0].read()  # what is there once, whatever the number of consoles
    threads, memory = threading.active_count(), _resident_mib()
    most_threads = most_memory = 0.0
    lost, heard = 0, set()
    due = [(time.monotonic(), number) for number in range(len(consoles))]
    end = time.monotonic() + _SECONDS
    while due[0][0] < end:
        when, number = heapq.heappop(due)
        time.sleep(max(0.0, when - time.monotonic()))
        output = consoles[number].read()
        lost += output.lost
        if output.data:
            heard.add(number)
        heapq.heappush(due, (time.monotonic() + consoles[number].pause, number))
        most_threads = max(most_threads, threading.active_count() - threads)
        most_memory = max(most_memory, _resident_mib() - memory)
    return _Followed(int(most_threads), most_memory, lost, len(heard))


def _instance(name: str) -> dict[str, object]:
    source = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
    return {
        "name": name,
        "machineType": f"zones/{ZONE}/machineTypes/n1-standard-1",
        "disks": [
            {
                "boot": True,
                "autoDelete": True,
                "initializeParams": {"sourceImage": source, "labels": {BUILD_LABEL: name}},
            }
        ],
        "networkInterfaces": [{"network": "global/networks/default"}],
    }


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)
