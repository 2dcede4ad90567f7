"""A machine with the faults that were ordered for it."""

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute.references import last
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines.backend import Machine, SerialChunk


class FaultyMachine:
    """The machine of an instance, with the faults `silent`, `serial-loss` and `crash`.

    Args:
        machine: the machine itself, which has none of them.
        path: of the instance.
        faults: that are ordered.
        clock: the emulator's, by which a machine crashes.

    Attributes:
        machine: the machine itself.
    """

    def __init__(self, machine: Machine, path: str, faults: Faults, clock: Clock) -> None:
        self.machine = machine
        self._path = path
        self._faults = faults
        self._clock = clock
        self._silent = False
        self._lost_before: dict[int, int] = {}
        self._crashes_at = float("inf")

    def power_on(self) -> None:
        """Start the machine, with the faults that match it now."""
        name = last(self._path)
        self._silent = self._faults.take("silent", name=name, path=self._path) is not None
        crash = self._faults.take("crash", name=name, path=self._path)
        self._crashes_at = self._clock.now() + crash.seconds if crash else float("inf")
        if self._crashes_at > self._clock.now():  # otherwise it is over before it has said anything
            self.machine.power_on()

    def crash_if_due(self) -> bool:
        """Cut the power if the machine is to crash by now; returns whether it was."""
        due = self._crashes_at <= self._clock.now()
        if due:
            self.machine.cut_power()
        return due

    def serial_output(self, port: int, start: int) -> SerialChunk:
        """Return the output of a serial port, as a client sees it.

        Args:
            port: 1 to 4.
            start: byte offset; negative counts from the end.
        """
        self.crash_if_due()  # nothing is heard of a machine that it says after its crash
        if self._silent:
            return SerialChunk(b"", max(start, 0), max(start, 0))
        if start < 0:
            end = self.machine.serial_output(port, 1 << 62).next
            start = max(0, end + start)
        chunk = self.machine.serial_output(port, max(start, self._lost_before.get(port, 0)))
        if not chunk.contents:
            return chunk
        fault = self._faults.take("serial-loss", name=last(self._path), path=self._path, port=port)
        if fault is None:
            return chunk
        lost = min(fault.bytes or len(chunk.contents), len(chunk.contents))
        self._lost_before[port] = chunk.start + lost
        return self.machine.serial_output(port, self._lost_before[port])
