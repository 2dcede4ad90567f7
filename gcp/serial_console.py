"""Following a VM's serial console: a cursor, the ring's losses, the pace of polling."""

import threading
import time
from dataclasses import dataclass

from google.cloud import compute_v1

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.references import VmRef
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients

FASTEST_POLL = 0.5
SLOWEST_POLL = 4.0
"""Seconds between two reads of one console."""
_LATENESS = 1 / 30
"""What a console that has been silent for a while may be read late by, as a share of that while."""

READS_PER_SECOND = 20
"""Reads that this process makes at most, of all consoles together: 1,200 a minute of the 1,500 that a project has for
reads (https://cloud.google.com/compute/api-quota)."""


HALTED = b"reboot: System halted"
"""The kernel's last words on the console, after services are stopped and file systems unmounted."""
_CONSOLE = 1
_HALT_PATIENCE = 90.0


class _Pace:
    """Spaces the reads of a process, whichever console or thread they are of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free = 0.0

    def wait(self) -> None:
        """Wait for the next read's turn."""
        with self._lock:
            turn = max(time.monotonic(), self._free)
            self._free = turn + 1 / READS_PER_SECOND
        time.sleep(max(0.0, turn - time.monotonic()))


_PACE = _Pace()


@dataclass(frozen=True)
class Output:
    """What one read has brought.

    Attributes:
        data: the new output, as UTF-8.
        lost: bytes that the 1 MiB ring dropped before `data`.
    """

    data: bytes
    lost: int


class SerialConsole:
    """One serial port of one VM, read from where the last read ended.

    Attributes:
        next: the offset to read from next.
        pause: seconds to wait before the next read.
    """

    def __init__(self, clients: Clients, vm: VmRef, port: int) -> None:
        self._clients = clients
        self._where = {"project": vm.project, "zone": vm.zone, "instance": vm.name, "port": port}
        self._doing = f"read serial port {port} of {vm.name}"
        self._heard = time.monotonic()
        self.next = 0
        self.pause = FASTEST_POLL

    def read(self) -> Output:
        """Read what has come since the last read.

        Source: https://cloud.google.com/compute/docs/reference/rest/v1/instances/getSerialPortOutput. A returned
        `start` beyond the one asked for means that output was lost.

        Raises:
            NotFoundError: the VM is gone.
            CustomizerError: the API does not answer, for minutes.
        """
        _PACE.wait()
        request = compute_v1.GetSerialPortOutputInstanceRequest(**self._where, start=self.next)
        answer = calls.call(self._clients.instances.get_serial_port_output, request, self._doing)
        data = answer.contents.encode("utf-8", "replace")
        lost = max(0, answer.start - self.next) if data else 0
        self.next = answer.next_
        now = time.monotonic()
        if data:
            self._heard = now
        self.pause = min(SLOWEST_POLL, max(FASTEST_POLL, (now - self._heard) * _LATENESS))
        return Output(data, lost)


def await_halt(clients: Clients, vm: VmRef) -> bool:
    """Wait until a VM stands still with a clean disk.

    A VM that has halted still counts as running. That is what we want: if this process is killed while the image is
    made, Compute Engine deletes the VM when its time is up, which it would not do to a VM that was stopped.

    Args:
        clients: Google's clients.
        vm: The VM.

    Returns:
        False if it has not said so in time; it should then be stopped.
    """
    console = SerialConsole(clients, vm, _CONSOLE)
    seen = b""
    end = time.monotonic() + _HALT_PATIENCE
    while time.monotonic() < end:
        try:
            seen = seen[-len(HALTED) :] + console.read().data
        except CustomizerError:
            return False
        if HALTED in seen:
            return True
        time.sleep(min(console.pause, 1.0))
    return False
