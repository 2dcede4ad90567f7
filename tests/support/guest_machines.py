"""The guest on a machine of its own, without Compute Engine: as much of Cloud Storage as it needs, its console."""

import gzip
import hashlib
import io
import tarfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from support.waiting import PATIENCE, wait_for

from cos_customizer.customizer.spec.disk_layout import DiskLayout
from cos_customizer.emulator.machines.backend import STAND_IN, Backend, Machine, MachineSpec
from cos_customizer.guest.protocol import PORT, Event, OutputLine, SerialParser
from cos_customizer.guest.user_data import ContextObject, GuestStep, render_user_data

HOST = "169.254.169.1"
"""This machine's loopback, as the guest sees it."""


@dataclass
class Storage:
    """As much of Cloud Storage as the guest needs: objects by name, for whoever brings a token."""

    objects: dict[str, bytes]

    def serve(self) -> None:
        objects = self.objects

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = objects.get(self.path.removeprefix("/storage/v1/b/my-bucket/o/").partition("?")[0])
                allowed = (self.headers["Authorization"] or "").startswith("Bearer ")
                self.send_response((200 if body is not None else 404) if allowed else 401)
                self.end_headers()
                if allowed and body is not None:
                    self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.endpoint = f"http://{HOST}:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Console:
    """Follows a machine's third serial port."""

    def __init__(self, machine: Machine, nonce: str) -> None:
        self._machine = machine
        self._parser = SerialParser(nonce)
        self._at = 0
        self.raw = b""
        self.events: list[Event] = []

    def read(self) -> list[Event]:
        chunk = self._machine.serial_output(PORT, self._at)
        assert chunk.start == self._at, "output was lost"
        self._at = chunk.next
        self.raw += chunk.contents
        new = self._parser.feed(chunk.contents)
        self.events += new
        return new

    def until(self, *last: type[Event] | str) -> Event:
        """Wait for an event of one of these types, or for a line that is one of these."""
        types = tuple(kind for kind in last if not isinstance(kind, str))
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._machine.running:
            for event in self.read():
                if isinstance(event, types) or (isinstance(event, OutputLine) and event.text in last):
                    return event
            time.sleep(0.1)
        raise AssertionError(
            f"nothing of the kind: {self.events}\n{self._machine.serial_output(1, 0).contents[-3000:]!r}"
        )

    @property
    def text(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, OutputLine)]

    @property
    def markers(self) -> list[Event]:
        return [event for event in self.events if not isinstance(event, OutputLine)]


def power_on(backend: Backend, name: str, image: str, attributes: dict[str, str], disk_gb: int = 10) -> Machine:
    backend.create_disk(name, image, disk_gb)
    machine = backend.machine(
        MachineSpec(
            project="my-project",
            zone="us-west1-b",
            name=name,
            instance_id=str(time.time_ns()),
            boot_disk=name,
            attributes=attributes,
            service_account="default@my-project.iam.gserviceaccount.com",
            scopes=("https://www.googleapis.com/auth/cloud-platform",),
            host_ports=[port] if (port := urlsplit(attributes.get("storage-endpoint", "")).port) else [],
        )
    )
    machine.power_on()
    return machine


def build_of(
    backend: Backend,
    storage: Storage,
    name: str,
    files: Mapping[str, bytes],
    steps: Sequence[GuestStep],
    layout: DiskLayout | None = None,
    disk_gb: int = 10,
    *,
    makes_image: bool = True,
) -> tuple[Machine, Console]:
    """Start a build of these steps, with these files as its context, on a disk that may be laid out anew."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    tar = stream.getvalue()
    storage.objects[f"{name}%2Fcontext.tar.gz"] = gzip.compress(tar)
    context = ContextObject("my-bucket", f"{name}/context.tar.gz", hashlib.sha256(tar).hexdigest())
    user_data = render_user_data(steps, context, "n0nce", makes_image=makes_image, layout=layout)
    attributes = {"user-data": user_data, "storage-endpoint": storage.endpoint}
    machine = power_on(backend, name, STAND_IN, attributes, disk_gb)
    return machine, Console(machine, "n0nce")


def stop(machine: Machine) -> None:
    """Press the power button, and wait until the machine is off."""
    machine.press_power_button()
    wait_for(lambda: not machine.running, lambda: "does not power off")
