"""Following a VM's serial console: a cursor, the ring's losses, reads that are refused."""

import time
from dataclasses import dataclass

from google.cloud import compute_v1

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.references import VmRef
from cos_customizer.gcp import calls, console_pace, console_quota
from cos_customizer.gcp.clients import Clients

HALTED = b"reboot: System halted"
"""The kernel's last words on the console, after services are stopped and file systems unmounted."""
_CONSOLE = 1
_HALT_PATIENCE = 90.0


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
        self._vm = vm
        self._region = console_pace.region_of(vm)
        self._where = {"project": vm.project, "zone": vm.zone, "instance": vm.name, "port": port}
        self._doing = f"read serial port {port} of {vm.name}"
        self.next = 0
        self.pause = console_pace.FASTEST_POLL

    def read(self) -> Output:
        """Read what has come since the last read.

        Source: https://cloud.google.com/compute/docs/reference/rest/v1/instances/getSerialPortOutput. A returned
        `start` beyond the one asked for means that output was lost.

        Raises:
            NotFoundError: the VM is gone.
            CustomizerError: the API does not answer, for minutes.
        """
        if self._region.is_look_due():
            console_quota.look(self._clients, self._region, self._vm)
        answer = self._ask()
        data = answer.contents.encode("utf-8", "replace")
        lost = max(0, answer.start - self.next) if data else 0
        self.next = answer.next_
        self.pause = self._region.pause(self._vm, bool(data))
        return Output(data, lost)

    def _ask(self) -> compute_v1.SerialPortOutput:
        """Read until Compute Engine does not refuse to, as it does when the project has read too much."""
        request = compute_v1.GetSerialPortOutputInstanceRequest(**self._where, start=self.next)
        while True:
            deadline.pause(self._region.rest())
            try:
                method = self._clients.instances.get_serial_port_output
                answer: compute_v1.SerialPortOutput = calls.call_at_a_rate(method, request, self._doing)
            except calls.RateLimitedError:
                self._region.refused()
            else:
                return answer


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
        time.sleep(console.pause)
    return False
