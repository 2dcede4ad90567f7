"""Ways out of a build that come from outside: its deadline and the signals that end a process."""

import math
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, NoReturn

from cos_customizer.quick_imports import complete

_AGAIN = 3.0
"""Seconds after which an interruption comes again: Python drops an exception that is raised in a finalizer, and a
library may pass over one."""
_SOON = 0.05
_TICK = 1.0
"""Seconds within which a signal is looked at, whatever the undoing waits for. Of two that come at once, Linux gives the
second to another thread, and Python then looks at it when the main thread's call is over."""
_LAST_SIGNAL = 3
"""The signal that ends even the undoing."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a process from outside."""


class DeadlinePassed(BaseException):
    """The build's time is up. No Exception, so that no library takes it for a fault of its own and retries."""


class UndoingEnded(BaseException):
    """Undoing has no more time, or somebody does not want to wait for it."""


def ignore_signals() -> None:
    """Let no signal interrupt this process any more: what is left to do takes moments and must be done."""
    _pass_over_signals()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _pass_over_signals() -> None:
    """Let signals do nothing, also those that have come and that Python has not looked at yet.

    Of such a one, Python would print a traceback if it then found its handler to be none of Python's.
    """
    for number in SIGNALS:
        signal.signal(number, _pass_over)


def _pass_over(_number: int, _frame: FrameType | None) -> None:
    pass


class EndOnce:
    """Handler of a program that ends at the first signal, with its exit code: what comes later must not change that.

    Neither does what comes when it is known how the program ends.
    """

    def __init__(self) -> None:
        self._came = False

    def pass_over(self) -> None:
        """It is known how the program ends: no signal changes that any more."""
        self._came = True

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Pass over all signals from here on, and raise what ends the program."""
        # Asked for again, since Prefect, in leaving a flow, puts back the handlers that it found.
        if not self._came:
            self._came = True
            self._watch(number)
            _end(number)

    def _watch(self, number: int) -> None:
        """Let the signal come again if Python drops what it raises, which it does in a finalizer."""
        tell = sys.unraisablehook

        def dropped(what: "sys.UnraisableHookArgs") -> None:
            if not isinstance(what.exc_value, KeyboardInterrupt | SystemExit):
                tell(what)
            elif signal.getsignal(number) is _pass_over:  # inside `Interrupts`, it comes again by itself
                sys.unraisablehook = tell
                self._came = False
                for each in SIGNALS:
                    signal.signal(each, self)
                threading.Timer(_SOON, os.kill, (os.getpid(), number)).start()

        sys.unraisablehook = dropped


def _end(number: int) -> NoReturn:
    _pass_over_signals()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _ends_program(handler: Any) -> bool:
    """Whether a signal that was left to this handler ends the program, be it by way of `Interrupts` further out."""
    around = getattr(handler, "__self__", None)
    return isinstance(handler, EndOnce) or (isinstance(around, Interrupts) and around.ends_program)


class Interrupts:
    """While this context lasts, the first of deadline and signals interrupts it, and nothing after that does.

    One interruption only: a second Ctrl-C or SIGTERM must not cut the undoing short that the first one has begun. A
    third one does, and so does the end of the undoing's own time: `UndoingEnded` is raised then.
    SIGINT, SIGTERM and SIGHUP do what their handlers did before (a default action that ends the process becomes
    SystemExit, so that `finally` is reached; what was ignored stays so, and a handler that returns has interrupted
    nothing). In a program whose handler is `EndOnce`, a signal that interrupts is the last one: all are ignored when
    the context is left, since what Prefect then has to say of the flow run is part of the way out. So they are when
    the undoing of the program's one build is over: what the build has come to is known then. An alarm that was
    set before, such as the time limit of a flow around this one, counts as a deadline too, and is set again afterwards.
    Works in the main thread, where Prefect runs a sync flow; elsewhere the builder VM's own `maxRunDuration` is what
    bounds a build.

    In a process that a Prefect worker has started, SIGTERM is left to Prefect's own handler until the shield is up: a
    worker announces that it cancels before it sends its one SIGTERM, and Prefect, where it finds another handler, takes
    that for a crash.

    Args:
        seconds: until DeadlinePassed is raised, even while a call blocks.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._interrupted: int | None = None
        self._cause: BaseException | None = None
        self._shielded = False
        self._end_of_undoing = 0.0
        self._over = False
        self._signals = 0
        self._before: dict[int, Any] = {}
        self._left_alone: set[int] = set()
        self._outer_deadline: float | None = None

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is not threading.main_thread():
            return self
        complete()
        handlers = {int(number): signal.getsignal(number) for number in (signal.SIGALRM, *SIGNALS)}
        self._before = {
            number: handler
            for number, handler in handlers.items()
            if number == signal.SIGALRM or handler not in (signal.SIG_IGN, None)
        }
        try:
            left, _ = signal.getitimer(signal.ITIMER_REAL)
            if left:
                self._outer_deadline = time.monotonic() + left
            self._left_alone = {signal.SIGTERM} if _worker_may_cancel() else set()
            for number in self._before.keys() - self._left_alone:
                signal.signal(number, self._interrupt)
            first = max(0.001, min(self._seconds, left or self._seconds))
            signal.setitimer(signal.ITIMER_REAL, first, _AGAIN)
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
            ends = [handler for handler in self._before.values() if isinstance(handler, EndOnce)] if self._over else []
            for end in ends:  # Prefect, in leaving the flow, puts them back
                end.pass_over()
            last = bool(ends) or (self._interrupted in SIGNALS and self.ends_program)
            for number, handler in self._before.items():
                signal.signal(number, signal.SIG_IGN if last and number in SIGNALS else handler)
        if self._outer_deadline is not None:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, self._outer_deadline - time.monotonic()))

    @property
    def ends_program(self) -> bool:
        """Whether a signal that interrupts ends the program too."""
        return any(_ends_program(handler) for handler in self._before.values())

    def postpone(self, seconds: float) -> None:
        """Raise DeadlinePassed at another time than was said at first, unless something has interrupted already.

        An alarm that was set before this context is not put off.

        Args:
            seconds: from now until DeadlinePassed is raised.
        """
        if self._before and not self._shielded and self._cause is None:
            around = math.inf if self._outer_deadline is None else self._outer_deadline - time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, max(0.001, min(seconds, around)), _AGAIN)

    def shield(self, end: float) -> None:
        """From here on nothing interrupts any more, but for what ends the undoing. May be called again.

        Args:
            end: value of `time.monotonic()` at which `UndoingEnded` is raised.
        """
        if self._before and not self._shielded:
            self._end_of_undoing = end
            left = max(0.0, end - time.monotonic())
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left % _TICK), _TICK)
        self._shielded = True
        for number in self._left_alone:
            signal.signal(number, self._interrupt)
        self._left_alone = set()

    def stand_down(self) -> None:
        """Undoing is over, or was ended: from here on nothing interrupts at all."""
        self._over = True

    @property
    def by_signal(self) -> bool:
        """Whether a signal has interrupted."""
        return self._interrupted in SIGNALS

    def behind(self, error: BaseException) -> BaseException:
        """What has interrupted, where that has made a library fail in a way of its own; otherwise the error itself.

        Prefect does so when it is just beginning a task run, and calls that `Task run is not set`.

        Args:
            error: what came out of the work.
        """
        return self._cause if self._cause is not None and isinstance(error, Exception) else error

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._signals += number != signal.SIGALRM
        if self._shielded:
            if not self._over and (self._signals >= _LAST_SIGNAL or time.monotonic() >= self._end_of_undoing):
                raise UndoingEnded
        elif self._cause is None:
            self._begin(number, frame)
        elif number == signal.SIGALRM:  # the timer says it again, whatever it was
            raise self._cause.with_traceback(None)

    def _begin(self, number: int, frame: FrameType | None) -> None:
        """Interrupt, unless the handler of before only takes note."""
        try:
            self._raise(number, frame)
        except BaseException as cause:
            self._interrupted, self._cause = number, cause
            signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
            for each in self._before.keys() - self._left_alone:  # the handler of before may have changed them
                signal.signal(each, self._interrupt)
            raise

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGALRM:
            raise DeadlinePassed
        handler = self._before[number]
        if not callable(handler):
            raise SystemExit(128 + number)
        handler(number, frame)


def _worker_may_cancel() -> bool:
    """Whether this process is a worker's, and ready to be cancelled by it."""
    if "PREFECT__FLOW_RUN_ID" not in os.environ:
        return False
    from prefect.utilities.engine import is_prefect_sigterm_handler_installed

    return is_prefect_sigterm_handler_installed()
