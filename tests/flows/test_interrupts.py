"""Interrupts: the first of deadline and signals ends a build, nothing after it cuts the undoing short."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from prefect.exceptions import TerminationSignal
from prefect.utilities.engine import can_ack_control_intent, capture_sigterm

from cos_customizer.flows import interrupts, time_limit
from cos_customizer.flows.interrupts import DeadlinePassed, EndOnce, Interrupts, UndoingEnded
from cos_customizer.flows.time_limit import TimeLimit, counting_from

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ALL = (signal.SIGALRM, *SIGNALS)


@pytest.fixture(autouse=True)
def _default_actions() -> Iterator[None]:
    """Each test begins with default actions and no alarm, and must leave behind what it found."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ALL}
    yield
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    after = {number: signal.signal(number, handler) for number, handler in before.items()}
    assert left == 0
    assert set(after.values()) == {signal.SIG_DFL}


def send(number: int) -> None:
    signal.raise_signal(number)


def send_and_block(*numbers: int) -> None:
    for number in numbers:
        send(number)
    block()


def block() -> None:
    """A call that blocks without coming back to Python in between; that it has to give up is an error."""
    reader, writer = os.pipe()
    gave_up = threading.Event()

    def give_up() -> None:
        gave_up.set()
        os.write(writer, b"x")

    timer = threading.Timer(120, give_up)
    timer.daemon = True
    timer.start()
    try:
        os.read(reader, 1)
    finally:
        timer.cancel()
        os.close(reader)
        os.close(writer)
        assert not gave_up.is_set(), "nothing has interrupted it"


@pytest.mark.parametrize(
    ("timeout", "left"), [(3600, 3510), (900, 810), (600, 540), (60, 54), (1, 0.9), (10_368_000, 10_367_910)]
)
def test_a_share_of_the_timeout_is_kept_back_for_undoing(
    monkeypatch: pytest.MonkeyPatch, timeout: float, left: float
) -> None:
    monkeypatch.setattr(time_limit, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    limit = TimeLimit.of(timeout)
    assert limit.work == pytest.approx(1000 + left)
    assert limit.end == 1000 + timeout


def test_undoing_takes_ninety_seconds_at_most_and_ends_with_the_build_s_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time_limit, "time", SimpleNamespace(monotonic=lambda: now[0]))
    limit = TimeLimit.of(3600)
    assert limit.end_of_undoing() == 1090
    now[0] = limit.work
    assert limit.end_of_undoing() == limit.end == 4600


def test_the_timeout_counts_from_the_command_s_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "time", SimpleNamespace(monotonic=lambda: 1030.0))
    with counting_from(1000.0):
        assert TimeLimit.of(600).work == pytest.approx(1540)
        assert TimeLimit.of(10).end < 1030
    assert TimeLimit.of(600).work == pytest.approx(1570)  # another build in this process has nothing to do with that


@pytest.mark.parametrize("seconds", [0.05, 0.0, -7.0])
def test_the_deadline_interrupts_a_call_that_blocks(seconds: float) -> None:
    with pytest.raises(DeadlinePassed), Interrupts(seconds):
        block()


def test_no_library_takes_the_deadline_for_an_exception_to_retry() -> None:
    assert not issubclass(DeadlinePassed, Exception)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_would_end_the_process_interrupts_and_gives_its_exit_code(number: int) -> None:
    with pytest.raises(SystemExit) as caught, Interrupts(60):
        send_and_block(number)
    assert caught.value.code == 128 + number


def test_a_signal_does_what_its_handler_did_before() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), Interrupts(60):
        send_and_block(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("second", SIGNALS)
def test_after_the_first_interruption_no_signal_interrupts(second: int) -> None:
    undone = []

    def work() -> None:
        try:
            send_and_block(signal.SIGTERM)
        finally:
            for _ in range(3):
                send(second)
            undone.append(True)

    with pytest.raises(SystemExit) as caught, Interrupts(60):
        work()
    assert undone
    assert caught.value.code == 143


def test_after_the_deadline_no_signal_interrupts() -> None:
    undone = []

    def work() -> None:
        try:
            send_and_block(signal.SIGALRM)
        finally:
            for number in SIGNALS:
                send(number)
            undone.append(True)

    with pytest.raises(DeadlinePassed), Interrupts(60):
        work()
    assert undone


@pytest.mark.parametrize("number", SIGNALS)
def test_behind_the_shield_two_signals_do_nothing_and_a_third_ends_the_undoing(number: int) -> None:
    with Interrupts(60) as shielded:
        shielded.shield(time.monotonic() + 60)
        send(signal.SIGTERM)
        send(number)
        with pytest.raises(UndoingEnded):
            send(number)
        shielded.stand_down()
        for each in ALL:
            send(each)


def test_the_end_of_its_time_ends_the_undoing_in_the_middle_of_a_call_that_blocks() -> None:
    with Interrupts(60) as shielded:
        shielded.shield(time.monotonic() + 0.05)
        with pytest.raises(UndoingEnded):
            block()
        shielded.stand_down()


def test_an_ignored_signal_is_no_interruption() -> None:
    """`nohup`: the terminal hangs up, and what comes later must still interrupt."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with pytest.raises(DeadlinePassed), Interrupts(60):
        send_and_block(signal.SIGHUP, signal.SIGALRM)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_handler_that_only_takes_note_is_no_interruption() -> None:
    noted: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: noted.append(number))
    with pytest.raises(DeadlinePassed), Interrupts(60):
        send_and_block(signal.SIGTERM, signal.SIGTERM, signal.SIGALRM)
    assert noted == [signal.SIGTERM] * 2
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_an_outer_alarm_bounds_too_and_goes_off_afterwards() -> None:
    class OuterTimeoutError(Exception):
        pass

    def out_of_time(_number: int, _frame: object) -> None:
        raise OuterTimeoutError

    signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, 1800)
    with Interrupts(3600):
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1800
        with pytest.raises(DeadlinePassed):
            send_and_block(signal.SIGALRM)
    with pytest.raises(OuterTimeoutError):
        send_and_block(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 3600)
    with Interrupts(1800):
        pass
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    assert 1800 < left <= 3600
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_handlers_are_as_before_when_it_is_over() -> None:
    with Interrupts(60):
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    with pytest.raises(ZeroDivisionError), Interrupts(60):
        _ = 1 / 0
    assert {signal.getsignal(number) for number in ALL} == {signal.SIG_DFL}


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("nested", [False, True])
def test_the_first_signal_ends_a_program_whatever_comes_while_prefect_winds_up(
    first: signal.Signals, nested: bool
) -> None:
    end = EndOnce()
    for number in SIGNALS:
        signal.signal(number, end)
    ended: list[str] = []

    def build() -> None:
        with capture_sigterm():
            try:
                with Interrupts(60):
                    send_and_block(first)
            finally:
                for number in (*SIGNALS, *SIGNALS):
                    send(number)
                ended.append("told")

    def rebuild() -> None:
        with capture_sigterm(), Interrupts(60):
            build()

    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        (rebuild if nested else build)()
    for number in SIGNALS:
        send(number)
        signal.signal(number, signal.SIG_DFL)
    assert ended == ["told"]
    code = caught.value.code if isinstance(caught.value, SystemExit) else 128 + signal.SIGINT
    assert code == 128 + first


@pytest.mark.parametrize("number", SIGNALS)
def test_a_program_whose_build_is_over_is_ended_by_no_signal_any_more(number: signal.Signals) -> None:
    end = EndOnce()
    for each in SIGNALS:
        signal.signal(each, end)
    with capture_sigterm():
        with Interrupts(60) as build:
            build.shield(time.monotonic() + 60)
            build.stand_down()
        send(number)
    send(number)
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)


@pytest.mark.parametrize("number", SIGNALS)
def test_one_build_of_several_being_over_the_program_is_ended_by_a_signal_as_before(number: signal.Signals) -> None:
    end = EndOnce()
    for each in SIGNALS:
        signal.signal(each, end)

    def rebuild() -> None:
        with capture_sigterm(), Interrupts(60):
            with capture_sigterm(), Interrupts(60) as build:
                build.shield(time.monotonic() + 60)
                build.stand_down()
            send_and_block(number)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        rebuild()
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)


class LosesExceptions:
    """Gets a signal while it is finalized, where Python drops what the signal's handler raises."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        send(self._number)


def swallow(number: int) -> None:
    """What a library does that goes on whatever happens."""
    with contextlib.suppress(BaseException):
        send(number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", ALL)
@pytest.mark.parametrize("lose", [LosesExceptions, swallow])
@pytest.mark.parametrize("program", [False, True])
def test_an_interruption_that_gets_lost_comes_again(
    number: int, lose: Callable[[int], object], program: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        lose(number)
        block()

    monkeypatch.setattr(interrupts, "_AGAIN", 0.05)
    if program:
        end = EndOnce()
        for each in SIGNALS:
            signal.signal(each, end)
    with pytest.raises((KeyboardInterrupt, SystemExit, DeadlinePassed)), Interrupts(60):
        work()
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)


def test_a_signal_that_gets_lost_ends_a_program_all_the_same() -> None:
    program = """
import signal, time
from cos_customizer.flows.interrupts import SIGNALS, EndOnce

end = EndOnce()
for number in SIGNALS:
    signal.signal(number, end)

class LosesExceptions:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

LosesExceptions()
for _ in range(12_000):
    time.sleep(0.01)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "")


@pytest.mark.parametrize("first", SIGNALS)
def test_in_a_program_a_third_signal_ends_the_undoing_too(first: signal.Signals) -> None:
    end = EndOnce()
    for number in SIGNALS:
        signal.signal(number, end)

    def build() -> None:
        with Interrupts(60) as around:
            try:
                send_and_block(first)
            finally:
                around.shield(time.monotonic() + 60)
                send(signal.SIGTERM)
                with pytest.raises(UndoingEnded):
                    send_and_block(signal.SIGINT)
                around.stand_down()

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        build()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def test_outside_the_main_thread_no_handler_is_touched() -> None:
    found: list[object] = []

    def enter() -> None:
        with Interrupts(0.001) as outside:
            found.append(signal.getsignal(signal.SIGTERM))
            outside.shield(0)
            threading.Event().wait(0.05)  # an alarm would end the process

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_a_worker_s_wish_to_cancel_is_told_from_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect takes the announcement of a cancellation only while SIGTERM has its own handler."""
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "11111111-1111-4111-8111-111111111111")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Prefect passes the signal on to it at the end
    ended: list[str] = []
    with pytest.raises(TerminationSignal):
        cancelled_by_a_worker(ended)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert ended == ["interrupted", "undone"]


def cancelled_by_a_worker(ended: list[str]) -> None:
    with capture_sigterm():
        try:
            with Interrupts(60) as shielded:
                assert can_ack_control_intent()
                try:
                    send_and_block(signal.SIGTERM)
                except TerminationSignal:
                    ended.append("interrupted")
                    raise
                finally:
                    shielded.shield(time.monotonic() + 60)
                    send(signal.SIGTERM)
                    ended.append("undone")
        finally:
            assert can_ack_control_intent()


def test_signals_that_come_at_once_end_a_program_by_the_first_and_print_nothing() -> None:
    program = """
import os, signal, sys
from cos_customizer.flows.interrupts import SIGNALS, EndOnce, ignore_signals

for number in SIGNALS:
    signal.signal(number, EndOnce())
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
for number in SIGNALS:
    signal.raise_signal(number)
try:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    for _ in range(1000):
        pass
except BaseException as error:
    print(type(error).__name__)
    ignore_signals()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout in ("KeyboardInterrupt\n", "SystemExit\n")
