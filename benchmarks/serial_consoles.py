"""What it costs to follow a hundred serial consoles in one process."""

import heapq
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import PROJECT, ZONE, Cloud, Figure, request

_CONSOLES = 100
_SECONDS = 30.0
_LINE_EVERY = 5.0
_QUOTA = 1500
"""Requests a minute: what Google gives a project for each group of read methods, of which getSerialPortOutput is one
(https://cloud.google.com/compute/docs/api-rate-limits)."""


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
    threads, memory, lost, seen = _follow(cloud, names)
    calls = cloud.ask("GET", "calls?path=/serialPort")["count"]
    for name in names:
        request("DELETE", f"{instances}/{name}")
    assert seen == _CONSOLES, f"only {seen} consoles were heard of"
    yield Figure(f"{_CONSOLES} serial consoles, further threads", threads, 16, "")
    yield Figure(f"{_CONSOLES} serial consoles, memory of each", memory / _CONSOLES, 10, "MiB")
    yield Figure(
        f"{_CONSOLES} serial consoles, a line every {_LINE_EVERY:g} s, calls", calls * 60 / _SECONDS, _QUOTA, "/min"
    )
    yield Figure(f"{_CONSOLES} serial consoles, bytes lost", lost, 0, "")


def _follow(cloud: Cloud, names: list[str]) -> tuple[int, float, int, int]:
    """Follow them; further threads, further MiB, bytes lost, consoles that said something."""
    from cos_customizer.customizer.references import VmRef
    from cos_customizer.gcp.clients import connect
    from cos_customizer.gcp.serial_console import SerialConsole

    clients = connect(cloud.environment)
    SerialConsole(
        clients, VmRef(PROJECT, ZONE, names[0]), 3
    ).read()  # what is there once, whatever the number of consoles
    threads, memory = threading.active_count(), _resident_mib()
    consoles = [SerialConsole(clients, VmRef(PROJECT, ZONE, name), 3) for name in names]
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
    return int(most_threads), most_memory, lost, len(heard)


def _instance(name: str) -> dict[str, object]:
    source = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
    return {
        "name": name,
        "machineType": f"zones/{ZONE}/machineTypes/n1-standard-1",
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": source}}],
        "networkInterfaces": [{"network": "global/networks/default"}],
    }


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)
