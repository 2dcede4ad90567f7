"""How far a build has come, by the guest's serial output.

Lines can get lost on a serial port: a marker of a later step stands for the ends of earlier ones, since the guest runs
them in order. That all is done stands for no step: before the guest says so it tells again which steps have succeeded,
and one that is not among them did not run, whatever the VM says.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from cos_customizer.customizer.reporting import events
from cos_customizer.customizer.reporting.result import StepResult
from cos_customizer.guest import protocol

_WARNING = "warning: "

StepState = Literal["started", "succeeded", "failed"]

LINES_OF_FAILED_STEP = 40
"""How many lines of a failed step's output its error shows."""


class GuestProgress:
    """The state of a build's steps.

    Args:
        labels: of the steps, in order.
        stage: what the steps are for.
        clock: seconds, for the time of a step that fails: the guest tells only of those that succeed.

    Attributes:
        tail: the last lines that it has printed.
        succeeded: whether it says that all is done.
        failure: what it says has failed.
        heard: whether it has said anything.
        lays_out_disk: whether it has begun to lay out its boot disk anew.
        disk_wanted: bytes that it wants, or wanted, its boot disk to have; None: it has not asked for that.
        contents: what it says of the recorded contents of the image; None: it has not said anything.
    """

    def __init__(
        self, labels: Sequence[str], stage: events.Stage = "build", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._read = 0.0
        self._begun: dict[int, float] = {}
        self._labels = tuple(labels)
        self._vm = "builder VM" if stage == "build" else "test VM"
        self._stage: events.Stage = stage
        self._states: list[events.StepChange | None] = [None] * len(labels)
        self.tail: deque[str] = deque(maxlen=LINES_OF_FAILED_STEP)
        self.succeeded = False
        self.failure: protocol.BuildFailed | None = None
        self.heard = False
        self.lays_out_disk = False
        self.disk_wanted: int | None = None
        self.contents: protocol.ContentsSent | protocol.ContentsFailed | None = None

    def consume(self, said: Sequence[protocol.Event]) -> list[events.Event]:
        """Take note of events on the serial port.

        Args:
            said: the events, in order.

        Returns:
            Events for people: output in batches, changes of steps.
        """
        self._read = self._clock()
        news: list[events.Event] = []
        lines: list[str] = []
        for event in said:
            self.heard = True
            if isinstance(event, protocol.OutputLine):
                lines.append(event.text)
                if not self.over:  # what comes later must not push out what led to the failure
                    self.tail.append(event.text)
                if event.text.startswith(_WARNING) and not self._runs_step():
                    *lines, _ = lines
                    news += [events.ConsoleOutput(tuple(lines), self._stage)] if lines else []
                    news.append(events.Note(self._vm, event.text.removeprefix(_WARNING), "warning"))
                    lines = []
                continue
            if lines:
                news.append(events.ConsoleOutput(tuple(lines), self._stage))
                lines = []
            news += self._marker(event)
        return [*news, events.ConsoleOutput(tuple(lines), self._stage)] if lines else news

    def _runs_step(self) -> bool:
        """Whether a step is running: then what is printed is its script's, else the guest's own."""
        return any(state is not None and state.state == "started" for state in self._states)

    def ended(self, number: int) -> bool:
        """Whether step `number` (from 1) has ended, or the build has."""
        state = self._states[number - 1]
        return self.over or (state is not None and state.state != "started")

    @property
    def over(self) -> bool:
        """Whether the guest has announced the end of the build."""
        return self.succeeded or self.failure is not None

    @property
    def current(self) -> int:
        """Number of the step that runs, or ran last; 0 before the first."""
        return max((number for number, state in enumerate(self._states, start=1) if state), default=0)

    def label(self, number: int) -> str:
        """What people see of a step: `step 2/3 (run-script install.sh)`."""
        return f"step {number}/{len(self._labels)} ({self._labels[number - 1]})"

    def results(self) -> tuple[StepResult, ...]:
        """The result of each step, in order."""
        return tuple(
            StepResult(
                number=number,
                label=label,
                state="not-run" if state is None else "interrupted" if state.state == "started" else state.state,
                seconds=state.seconds if state else None,
            )
            for number, (label, state) in enumerate(zip(self._labels, self._states, strict=True), start=1)
        )

    def _marker(self, event: protocol.Event) -> list[events.Event]:
        if isinstance(event, protocol.DiskPhase | protocol.DiskWanted):
            return self._disk_marker(event)
        if isinstance(event, protocol.ContentsSent | protocol.ContentsFailed):
            self.contents = event
            return []
        if isinstance(event, protocol.StepStarted):
            if self.succeeded:
                self.succeeded = False
                self.failure = protocol.BuildFailed(None, None, "the VM restarted by itself after the steps were done")
                return []
            news = self._assume_succeeded(event.step - 1)
            if not self.over:
                self.tail.clear()
            return news + self._change(event.step, "started")
        if isinstance(event, protocol.StepSucceeded):
            return self._assume_succeeded(event.step - 1) + self._change(event.step, "succeeded", event.seconds)
        if isinstance(event, protocol.StepFailed):
            return self._assume_succeeded(event.step - 1) + self._change(event.step, "failed", None, event.reason)
        if isinstance(event, protocol.BuildSucceeded):
            self.failure = self.failure or self._unreported()
            self.succeeded = self.failure is None
            return []
        if isinstance(event, protocol.BuildFailed):
            self.failure = self.failure or event
            if event.step is None:
                return []
            return self._assume_succeeded(event.step - 1) + self._change(event.step, "failed", None, event.reason)
        return []

    def _disk_marker(self, event: protocol.DiskPhase | protocol.DiskWanted) -> list[events.Event]:
        self.lays_out_disk = True
        if isinstance(event, protocol.DiskPhase):
            return [events.Note("disk", event.text)]
        if event.size == self.disk_wanted:
            return []
        self.disk_wanted = event.size
        return [events.Note("disk", f"the {self._vm} waits until it has {event.size / 2**30:g} GB")]

    def _unreported(self) -> protocol.BuildFailed | None:
        """The failure of a build that is said to be done while a step is not."""
        for number, state in enumerate(self._states, start=1):
            if state is None:
                return protocol.BuildFailed(number, None, "never reported, though the VM says that all is done")
            if state.state == "started":
                return protocol.BuildFailed(
                    number, None, "has not reported its end, though the VM says that all is done"
                )
        return None

    def _assume_succeeded(self, last: int) -> list[events.Event]:
        news: list[events.Event] = []
        for number in range(1, min(last, len(self._labels)) + 1):
            news += self._change(number, "succeeded")
        return news

    def _change(
        self,
        number: int,
        state: Literal["started", "succeeded", "failed"],
        seconds: float | None = None,
        reason: str = "",
    ) -> list[events.Event]:
        if not 1 <= number <= len(self._labels):
            return []
        before = self._states[number - 1]
        if before is not None and (before.state == state or before.state != "started"):
            return []
        if state == "started":
            self._begun[number] = self._read
        elif state == "failed" and self._begun.get(number, self._read) < self._read:
            seconds = round(self._read - self._begun[number], 1)
        change = events.StepChange(
            number,
            len(self._labels),
            self._labels[number - 1],
            state,
            seconds,
            reason,
            self._stage,
        )
        self._states[number - 1] = change
        return [change]
