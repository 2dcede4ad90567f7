"""Consoles are read by need, and all together within a part of the quota, whoever reads them."""

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable

import pytest
from google.cloud import compute_v1
from support.compute_clients import COS, PROJECT, ZONE, Compute

from cos_customizer.customizer import deadline
from cos_customizer.customizer.names import BUILD_LABEL
from cos_customizer.customizer.references import VmRef
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import console_pace, console_quota
from cos_customizer.gcp.clients import Clients, connect
from cos_customizer.gcp.console_pace import SHARE, Region
from cos_customizer.gcp.rate_quotas import CONSOLE_READS, calls_a_minute
from cos_customizer.gcp.serial_console import SerialConsole

QUOTA, BUILDS, LASTS = 1500, 100, 360.0
VM = VmRef(PROJECT, ZONE, "console-1")

Speaks = Callable[[float, float], bool]
"""Whether a console has said something between two moments of its life."""


def chatters(since: float, until: float) -> bool:
    return int(until) > int(since)


def speaks_now_and_then(since: float, until: float) -> bool:
    return int(until / 40) > int(since / 40)


def is_silent(since: float, until: float) -> bool:
    return False


class World:
    """Builds of which each has a process of its own, on a clock that goes from read to read."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reads: list[float] = []
        self.late: list[float] = []
        """Of each build's end, seconds until it was read."""

    def play(self, begins: list[float], speaks: Speaks) -> None:
        regions = [Region(lambda: self.now, quota=QUOTA) for _ in begins]
        read, alive = dict(enumerate(begins)), Counter[str]()
        events = [(at, number) for number, at in enumerate(begins)]
        heapq.heapify(events)
        while events:
            self.now, number = heapq.heappop(events)
            begin, region = begins[number], regions[number]
            if region.is_look_due():
                region.builds = sum(begin <= self.now < begin + LASTS for begin in begins)
            self.reads.append(self.now)
            alive[str(number)] += 1
            if self.now >= begin + LASTS:
                self.late.append(self.now - begin - LASTS)
                continue
            spoke = speaks(read[number] - begin, self.now - begin)
            read[number] = self.now
            heapq.heappush(events, (self.now + region.pause(VmRef("p", "z-1-a", str(number)), spoke), number))

    def most_a_minute(self) -> int:
        """Of any minute, wherever it begins."""
        most = first = 0
        for last, at in enumerate(self.reads):
            while self.reads[first] < at - 60:
                first += 1
            most = max(most, last - first + 1)
        return most


@pytest.mark.parametrize("speaks", [chatters, speaks_now_and_then, is_silent])
@pytest.mark.parametrize("within", [0.0, 60.0, 360.0])
def test_a_hundred_builds_stay_below_half_of_the_quota(speaks: Speaks, within: float) -> None:
    world = World()
    world.play(sorted(random.Random(1).uniform(0, within) for _ in range(BUILDS)), speaks)
    assert len(world.late) == BUILDS
    assert world.most_a_minute() < QUOTA / 2
    assert max(world.late) <= 2 * BUILDS * 60 / (SHARE * QUOTA)


@pytest.mark.parametrize("speaks", [chatters, speaks_now_and_then, is_silent])
def test_a_build_alone_is_read_at_once_and_costs_little(speaks: Speaks) -> None:
    world = World()
    world.play([0.0], speaks)
    assert max(world.late) <= console_pace.SLOWEST_POLL
    beginning = [at for at in world.reads if at < 15]
    assert all(after - before <= 0.5 for before, after in itertools.pairwise(beginning))
    assert world.most_a_minute() <= 121


def test_a_silent_console_leaves_its_reads_to_when_it_speaks() -> None:
    silent, chatty = World(), World()
    silent.play([0.0] * BUILDS, is_silent)
    chatty.play([0.0] * BUILDS, chatters)
    assert len(silent.reads) < 0.75 * len(chatty.reads)


def test_refusals_slow_down_the_whole_process_and_pass() -> None:
    now = 0.0
    region = Region(lambda: now, builds=10, quota=QUOTA)
    rests = []
    for _ in range(6):
        region.refused()
        region.refused()  # of another thread, of the same moment
        rests.append(region.rest())
        now += region.rest()
    assert rests == sorted(rests)
    assert 45 <= rests[-1] <= 75
    assert region.rest() == 0
    slow = [region.pause(VM, True) for _ in range(20)][-1]
    now += 1800
    quick = [region.pause(VM, True) for _ in range(20)][-1]
    assert quick < slow / 4


@pytest.fixture
def clients(emulator: Emulator) -> Clients:
    return connect(emulator.environment())


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> Region:
    known: dict[tuple[str, str], Region] = {}
    monkeypatch.setattr(console_pace, "_regions", known)
    return console_pace.region_of(VM)


def builder(compute: Compute, name: str, zone: str = ZONE) -> None:
    parameters = compute_v1.AttachedDiskInitializeParams(source_image=COS, labels={BUILD_LABEL: name})
    disk = compute_v1.AttachedDisk(boot=True, auto_delete=True, initialize_params=parameters)
    compute.create(name, zone, disks=[disk])


def test_the_quota_and_the_number_of_builds_are_the_clouds(
    emulator: Emulator, clients: Clients, region: Region
) -> None:
    assert calls_a_minute(clients, PROJECT, CONSOLE_READS, "us-west1") == float("inf")
    emulator.rates.set_limit(CONSOLE_READS, 40)
    assert calls_a_minute(clients, PROJECT, CONSOLE_READS, "us-west1") == 40
    builder(compute := Compute(emulator), VM.name)
    console_quota.look(clients, region, VM)
    assert (region.builds, region.quota) == (1, None), "one alone needs no quota"
    builder(compute, "console-2", "us-west1-a")
    builder(compute, "console-3", "us-east1-b")
    console_quota.look(clients, region, VM)
    assert (region.builds, region.quota) == (2, 40)


def test_a_project_that_tells_nothing_has_its_consoles_read(
    emulator: Emulator, clients: Clients, region: Region
) -> None:
    compute = Compute(emulator)
    for name in (VM.name, "console-2"):
        builder(compute, name)
    emulator.faults.add("http", path="/consumerQuotaMetrics/", status=403, reason="forbidden", count=0)
    console_quota.look(clients, region, VM)
    assert (region.builds, region.quota, region.quota_asked) == (2, None, True)
    emulator.faults.add("http", path="/aggregated/disks", status=403, reason="forbidden", count=0)
    console_quota.look(clients, region, VM)
    assert region.builds == 2
    assert SerialConsole(clients, VM, 3).read().lost == 0


def test_a_read_that_is_refused_is_made_when_the_quota_is_refilled(
    emulator: Emulator, clients: Clients, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.scripts.add({"match": {"name": VM.name}, "events": [{"text": "said\n", "port": 3}]})
    builder(Compute(emulator), VM.name)
    emulator.rates.set_limit(CONSOLE_READS, 2)
    waited: list[float] = []

    def turn(seconds: float) -> None:
        waited.append(seconds)
        emulator.clock.advance(seconds)
        with region._lock:
            region._resting_until = 0.0

    monkeypatch.setattr(deadline, "pause", turn)
    console = SerialConsole(clients, VM, 3)
    said = b"".join(console.read().data for _ in range(8))
    assert said == b"said\n"
    refused = [call for call in emulator.calls.list(path="/serialPort") if call.status == 403]
    assert refused
    assert len([seconds for seconds in waited if seconds]) == len(refused)


@pytest.mark.usefixtures("region")
def test_reads_that_are_refused_to_the_end_end_with_the_time(emulator: Emulator, clients: Clients) -> None:
    emulator.rates.set_limit(CONSOLE_READS, 0)
    builder(Compute(emulator), VM.name)
    with pytest.raises(deadline.TimeUpError), deadline.until(time.monotonic() + 0.5):
        SerialConsole(clients, VM, 3).read()
