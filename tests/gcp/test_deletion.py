"""Deletions side by side: within the quota, by readings that are fresh, and none begun after an interruption."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from support.compute_clients import PROJECT, Compute
from support.waiting import wait_for

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ImageRef
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import deletion, fresh_reading, pace
from cos_customizer.gcp.clients import Clients, connect
from cos_customizer.gcp.deletion import Deletion
from cos_customizer.gcp.fresh_reading import FRESH, FreshReading
from cos_customizer.gcp.pace import Pace
from cos_customizer.gcp.rate_quotas import IMAGE_CHANGES
from cos_customizer.gcp.side_by_side import AT_ONCE, do_all, work_off

IMAGES = [f"image-{number:02}" for number in range(AT_ONCE + 4)]


@pytest.fixture
def clients(emulator: Emulator) -> Clients:
    compute = Compute(emulator)
    for operation in [compute.insert_image(name) for name in IMAGES]:
        compute.ok(operation)
    return connect()


def deletions(clients: Clients) -> list[Deletion]:
    removals = [Removal("image", PROJECT, name, "delete", "old") for name in IMAGES]
    return [deletion.image(clients, ImageRef(PROJECT, each.name), each) for each in removals]


@contextmanager
def raising(error: BaseException, when: Callable[[], bool]) -> Iterator[None]:
    """Raise an error in the main thread, once, as a signal's handler does it."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        raise error

    def send() -> None:
        wait_for(when)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def all_held(emulator: Emulator) -> bool:
    return any(fault["held"] == AT_ONCE for fault in emulator.faults.list())


def settle(emulator: Emulator) -> int:
    """How many deletions were begun, once nobody begins any."""
    emulator.faults.clear()
    wait_for(lambda: all(thread.name != "side-by-side" for thread in threading.enumerate()))
    return emulator.calls.count(method="DELETE")


def test_whoever_is_interrupted_waits_for_nothing_and_begins_nothing_more(emulator: Emulator, clients: Clients) -> None:
    emulator.faults.add("hold", method="DELETE", count=0)
    with pytest.raises(KeyboardInterrupt), raising(KeyboardInterrupt(), lambda: all_held(emulator)):
        deletion.delete_all(clients, deletions(clients))
    assert settle(emulator) == AT_ONCE


def test_what_was_begun_is_told_when_a_call_does_not_keep_to_the_time(emulator: Emulator, clients: Clients) -> None:
    emulator.faults.add("hold", method="DELETE", count=0)
    with raising(deadline.TimeUpError("the time was up"), lambda: all_held(emulator)):
        ended = deletion.delete_all(clients, deletions(clients))
    assert [removal.action for removal in ended] == ["failed"] * len(IMAGES)
    assert sum("it was begun, and there was no time left" in removal.reason for removal in ended) == AT_ONCE
    assert sum(removal.reason.endswith(": the time was up") for removal in ended) == 4
    assert settle(emulator) == AT_ONCE


def test_deletions_beyond_the_quota_wait_until_it_is_refilled(emulator: Emulator, clients: Clients) -> None:
    emulator.clock.advance(60 - emulator.clock.now() % 60)
    emulator.rates.set_limit(IMAGE_CHANGES, 5)

    def turn() -> None:
        for _ in range(2):
            before = [call for call in emulator.calls.list(method="DELETE") if call.status == 403]
            wait_for(lambda: len([1 for call in emulator.calls.list() if call.status == 403]) > len(before))  # noqa: B023
            emulator.clock.advance(60)

    turner = threading.Thread(target=turn)
    turner.start()
    ended = deletion.delete_all(clients, deletions(clients))
    turner.join()
    assert [removal.action for removal in ended] == ["deleted"] * len(IMAGES)


@pytest.mark.parametrize(("limit", "waits"), [(None, 0), (1500, len(IMAGES))])
def test_many_deletions_keep_to_a_part_of_the_quota(
    emulator: Emulator, clients: Clients, monkeypatch: pytest.MonkeyPatch, limit: int | None, waits: int
) -> None:
    if limit is not None:
        emulator.rates.set_limit(IMAGE_CHANGES, limit)
    paces: list[float] = []
    waited: list[int] = []

    class Told(Pace):
        def __init__(self, a_minute: float) -> None:
            super().__init__(a_minute)
            paces.append(a_minute)

        def wait(self) -> None:
            waited.append(1)

    monkeypatch.setattr(deletion, "Pace", Told)
    monkeypatch.setattr(deletion, "_FEW", 3)
    assert {each.action for each in deletion.delete_all(clients, deletions(clients))} == {"deleted"}
    assert (paces, len(waited)) == ([] if limit is None else [limit / 2], waits)


class TurnedClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> TurnedClock:
    turned = TurnedClock()
    for module in (pace, fresh_reading, deadline):
        monkeypatch.setattr(module, "time", turned)
    return turned


def test_a_pace_is_kept_and_some_of_what_was_left_is_made_up_for(clock: TurnedClock) -> None:
    spaced, began = Pace(750), clock.now
    made = []
    for _ in range(900):
        spaced.wait()
        made.append(clock.now)
    assert made[-1] - began < 60
    assert max(sum(at <= each < at + 60 for each in made) for at in made[::50]) <= 750 * 1.25 + 1
    clock.now += 3600
    rest = clock.now
    for _ in range(188):
        spaced.wait()
    assert clock.now - rest < 0.1


def test_a_reading_is_shared_while_it_is_fresh_and_made_for_the_next_ones(clock: TurnedClock) -> None:
    made: list[list[int]] = []

    def read(things: list[int]) -> str:
        made.append(list(things))
        clock.now += 30  # however long it takes
        return f"reading {len(made)}"

    readings = FreshReading(range(300), read)  # type: ignore[arg-type]
    assert readings.about(0) == readings.about(3) == "reading 1"
    clock.now += FRESH - 0.1
    assert readings.about(99) == "reading 1"
    clock.now += 0.1
    assert readings.about(50) == "reading 2"
    assert readings.about(50 - AT_ONCE) == "reading 2", "threads do not ask in order"
    assert readings.about(200) == "reading 3", "that one was not read of"
    assert [(things[0], things[-1]) for things in made] == [(0, 99), (50 - AT_ONCE, 149), (200 - AT_ONCE, 299)]


def test_a_reading_that_failed_is_made_again(clock: TurnedClock) -> None:
    fails = iter([True, False])

    def read(_: object) -> str:
        if next(fails):
            raise CustomizerError("no answer")
        return "read"

    readings = FreshReading([1], read)
    with pytest.raises(CustomizerError):
        readings.about(0)
    assert readings.about(0) == "read"


def test_results_are_in_order_and_the_first_error_ends_the_rest() -> None:
    assert do_all(lambda number: 2 * number, range(50)) == list(range(0, 100, 2))
    begun: list[int] = []

    def fail(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise CustomizerError("three")

    with pytest.raises(CustomizerError, match="three"):
        do_all(fail, range(10_000))
    assert len(begun) < 10_000


def test_threads_keep_to_the_time_that_is_left() -> None:
    left: list[float] = []
    with deadline.until(time.monotonic() + 100):
        work_off([lambda _: left.append(deadline.left())] * 3)
    assert all(seconds <= 100 for seconds in left)
    assert len(left) == 3
