"""Following a VM's serial console: a cursor, the ring's losses, the pace of polling."""

from dataclasses import dataclass

from google.cloud import compute_v1

from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients

FASTEST_POLL = 1.0
SLOWEST_POLL = 4.0
"""Seconds between two reads: the quota for serial port output is a project's, and builds share it."""


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

    def __init__(self, clients: Clients, project: str, zone: str, instance: str, port: int) -> None:
        self._clients = clients
        self._where = {"project": project, "zone": zone, "instance": instance, "port": port}
        self._doing = f"read serial port {port} of {instance}"
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
        request = compute_v1.GetSerialPortOutputInstanceRequest(**self._where, start=self.next)
        answer = calls.call(self._clients.instances.get_serial_port_output, request, self._doing)
        data = answer.contents.encode("utf-8", "replace")
        lost = max(0, answer.start - self.next) if data else 0
        self.next = answer.next_
        self.pause = FASTEST_POLL if data else min(SLOWEST_POLL, self.pause * 1.25)
        return Output(data, lost)
