# ruff: noqa: ARG002 (scripted machines have no use for most arguments)
"""Machines that play a given serial transcript: no files, no processes, and no waiting unless the transcript waits."""

import base64
import itertools
import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines.backend import SERIAL_PORTS, SERIAL_RING_BYTES, DataDisk, MachineSpec, SerialChunk
from cos_customizer.emulator.machines.guest_attributes import GuestAttributes
from cos_customizer.emulator.machines.raw_archive import Imported, Reader, unpack
from cos_customizer.emulator.patterns import Pattern

Event = Mapping[str, Any]
"""One thing that a machine does: `after` (seconds after the event before, on the emulator's clock; 0 = at once), with
either `text` or `base64` on a `port` (3 by default), `guest_attributes` (`NAMESPACE/KEY` → value), `power_off`, `crash`
(both stop it), `disk_gb` (it waits until the boot disk has as many GB), `upload` (it sends the bytes of `base64` to
Cloud Storage, to the session of a resumable upload: this attribute of the instance has path and query of that, and
without it nothing is sent), or `reboot` (nothing is seen of it; the events after it are those of the next boot). A
`text` may contain `${variable}`."""

Send = Callable[[str, bytes], None]
"""Completes a resumable upload: by the path and query of its session, and the object's bytes."""

Play = Callable[[MachineSpec], Sequence[Event]]

EVENT_FIELDS = {
    "after",
    "port",
    "text",
    "base64",
    "guest_attributes",
    "power_off",
    "crash",
    "disk_gb",
    "upload",
    "reboot",
}
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Transcript:
    """What a scripted machine does, and the instances that it is for.

    Attributes:
        events: what the machine does from power-on.
        match: regular expressions: `name` for the whole name, `zone`, and `metadata` (attribute → expression searched
            in its value). Empty matches every instance.
        variables: values for `${…}` in texts, taken from the instance's metadata: variable → `{"metadata": attribute,
            "pattern": expression with one group}`.
    """

    events: Sequence[Event]
    match: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := set(self.match) - {"name", "zone", "metadata"}:
            raise ValueError(f"script: cannot match by {', '.join(sorted(unknown))}")
        for event in self.events:
            if unknown := set(event) - EVENT_FIELDS:
                raise ValueError(f"script: event with unknown {', '.join(sorted(unknown))}")
            if not isinstance(event.get("disk_gb", 0), int):
                raise ValueError("script: disk_gb must be a number of GB")
            if event.get("port", 3) not in SERIAL_PORTS:
                raise ValueError(f"script: no serial port {event['port']}")
            if "upload" in event and not (isinstance(event["upload"], str) and "base64" in event):
                raise ValueError("script: upload must name an attribute, and base64 has the bytes")
            said = event.get("guest_attributes", {})
            if not isinstance(said, Mapping) or not all(isinstance(value, str) for value in said.values()):
                raise ValueError("script: guest_attributes must be texts by NAMESPACE/KEY")
            for path, value in said.items():
                GuestAttributes().put(path, value)

    def matches(self, spec: MachineSpec) -> bool:
        """Return whether the transcript is for this instance."""
        if not Pattern(self.match.get("name", ".*")).fullmatch(spec.name):
            return False
        if not Pattern(self.match.get("zone", ".*")).fullmatch(spec.zone):
            return False
        wanted: Mapping[str, str] = self.match.get("metadata", {})
        return all(Pattern(pattern).search(spec.attributes.get(key, "")) for key, pattern in wanted.items())

    def play(self, spec: MachineSpec) -> list[Event]:
        """Return the events with the variables filled in.

        Raises:
            EmulatorError: the metadata has no value for a variable.
        """
        values: dict[str, str] = {}
        for name, source in self.variables.items():
            found = Pattern(source["pattern"]).search(spec.attributes.get(source["metadata"], ""))
            if not found:
                raise EmulatorError(
                    f"script: metadata {source['metadata']!r} of {spec.name} holds no {name}",
                    f"the pattern is {source['pattern']!r}",
                )
            values[name] = found.group(1)

        def value(variable: re.Match[str]) -> str:
            return values.get(variable[1], variable[0])

        events = []
        for event in self.events:
            if "text" in event:
                event = {**event, "text": _VARIABLE.sub(value, event["text"])}
            events.append(event)
        return events


class Transcripts:
    """The transcripts of new machines: the last one added that matches is played. A machine without one is silent."""

    def __init__(self) -> None:
        self._transcripts: dict[int, Transcript | Play] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, transcript: Transcript | Mapping[str, Any] | Play) -> int:
        """Add a transcript, its JSON form (`events`, `match`, `variables`), or a function from instance to events.

        Returns:
            Its id.

        Raises:
            ValueError: the JSON form is wrong.
        """
        if isinstance(transcript, Mapping):
            try:
                transcript = Transcript(**transcript)
            except TypeError as error:
                raise ValueError(str(error).replace("Transcript.__init__() ", "script: ")) from None
        with self._lock:
            number = next(self._ids)
            self._transcripts[number] = transcript
        return number

    def list(self) -> list[dict[str, Any]]:
        """Return the transcripts in JSON form."""
        with self._lock:
            transcripts = list(self._transcripts.items())
        shown: list[dict[str, Any]] = []
        for number, each in transcripts:
            if isinstance(each, Transcript):
                form = {"match": each.match, "variables": each.variables, "events": list(each.events)}
                shown.append({"id": number, **form})
            else:
                shown.append({"id": number, "function": getattr(each, "__name__", repr(each))})
        return shown

    def clear(self, number: int | None = None) -> None:
        """Remove one transcript, or all."""
        with self._lock:
            if number is None:
                self._transcripts.clear()
            else:
                self._transcripts.pop(number, None)

    def events(self, spec: MachineSpec) -> Sequence[Event]:
        """Return what a new machine of this instance does."""
        with self._lock:
            transcripts = list(self._transcripts.values())
        for each in reversed(transcripts):
            if not isinstance(each, Transcript):
                return list(each(spec))
            if each.matches(spec):
                return each.play(spec)
        return []


class _Ring:
    """Output of one serial port: the most recent 1 MiB."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._start = 0

    def write(self, output: bytes) -> None:
        self._content += output
        lost = len(self._content) - SERIAL_RING_BYTES
        if lost > 0:
            del self._content[:lost]
            self._start += lost

    def read(self, start: int) -> SerialChunk:
        end = self._start + len(self._content)
        first = min(max(start, self._start), end)
        return SerialChunk(bytes(self._content[first - self._start :]), first, end)


class ScriptedMachine:
    """Plays events. They are played when the machine is looked at, as far as they are due: no thread is needed."""

    def __init__(
        self,
        events: Sequence[Event],
        clock: Clock,
        disk_gb: Callable[[], int] = lambda: 0,
        attributes: Mapping[str, str] | None = None,
        send: Send = lambda _address, _content: None,
    ) -> None:
        self._events = events
        self._attributes = attributes or {}
        self._send = send
        self._disk_gb = disk_gb
        self._clock = clock
        self._guest_attributes = GuestAttributes()
        self._rings = {port: _Ring() for port in SERIAL_PORTS}
        self._lock = threading.Lock()
        self._running = False
        self._next = 0
        self._due = 0.0
        self._frozen_at: float | None = None

    def configure(self, spec: MachineSpec) -> None:
        """Do nothing: a transcript stays what it is."""

    def power_on(self) -> None:
        """Play the transcript from its beginning."""
        with self._lock:
            self._running = True
            self._frozen_at = None
            self._next = 0
            self._due = self._clock.now()

    def reset(self) -> None:
        """Play the transcript from its beginning, if it is played."""
        if self.running:
            self.power_on()

    def freeze(self) -> None:
        """Play nothing until `thaw`."""
        with self._lock:
            self._play()
            self._frozen_at = self._clock.now()

    def thaw(self) -> None:
        """Go on with what was not due yet, as much later as it has stood still."""
        with self._lock:
            if self._frozen_at is not None:
                self._due += self._clock.now() - self._frozen_at
                self._frozen_at = None

    def attach(self, disk: DataDisk) -> None:
        """Do nothing: a transcript uses no disks."""

    def detach(self, device: str) -> None:
        """Do nothing."""

    def press_power_button(self) -> None:
        """Stop at once."""
        self.cut_power()

    def cut_power(self) -> None:
        """Stop playing."""
        with self._lock:
            self._play()
            self._running = False

    @property
    def running(self) -> bool:
        """See `Machine.running`."""
        with self._lock:
            self._play()
            return self._running

    @property
    def guest_attributes(self) -> GuestAttributes:
        """What has been said so far."""
        with self._lock:
            self._play()
            return self._guest_attributes

    def serial_output(self, port: int, start: int) -> SerialChunk:
        """Return what has been printed from `start` on."""
        with self._lock:
            self._play()
            return self._rings[port].read(start)

    def update_attributes(self, attributes: Mapping[str, str], project_attributes: Mapping[str, str]) -> None:
        """Do nothing: a transcript does not read them."""

    def _play(self) -> None:
        now = self._clock.now() if self._frozen_at is None else self._frozen_at
        while self._running and self._next < len(self._events):
            event = self._events[self._next]
            due = self._due + float(event.get("after", 0))
            if due > now or self._disk_gb() < event.get("disk_gb", 0):
                return
            self._due = due
            self._next += 1
            if "text" in event:
                self._rings[event.get("port", 3)].write(event["text"].encode())
            if "upload" in event:
                if address := self._attributes.get(event["upload"]):
                    self._send(address, base64.b64decode(event["base64"]))
            elif "base64" in event:
                self._rings[event.get("port", 3)].write(base64.b64decode(event["base64"]))
            for path, value in event.get("guest_attributes", {}).items():
                self._guest_attributes.put(path, value)
            if event.get("power_off") or event.get("crash"):
                self._running = False


class ScriptedBackend:
    """The backend of scripted machines: disks and images have no content.

    Attributes:
        transcripts: what they do.
        clock: the one that they go by.
        send: how they send something to Cloud Storage.
    """

    name = "scripted"
    most_machines = 1000

    def __init__(self, transcripts: Transcripts | None = None) -> None:
        self.transcripts = transcripts or Transcripts()
        self.clock = Clock()
        self.faults = Faults()
        self.send: Send = lambda _address, _content: None
        self._disk_sizes: dict[str, int] = {}

    def prepare(self) -> None:
        """Do nothing."""

    def create_disk(self, key: str, image: str | None, size_gb: int) -> None:
        """Remember its size."""
        self._disk_sizes[key] = size_gb

    def delete_disk(self, key: str) -> None:
        """Forget it."""
        self._disk_sizes.pop(key, None)

    def resize_disk(self, key: str, size_gb: int) -> None:
        """Remember its new size, which a transcript may wait for."""
        self._disk_sizes[key] = size_gb

    def create_image(self, key: str, disk: str) -> int:
        """Return a plausible size in bytes."""
        return 100 << 20

    def import_image(self, key: str, archive: Reader) -> Imported:
        """Check an archive; nothing of it is kept."""
        return unpack(archive, None)

    def export_image(self, key: str, file: Path) -> None:
        """Refuse: there is nothing to export."""
        raise EmulatorError("images of scripted machines have no content", "start the emulator with -machines=qemu")

    def delete_image(self, key: str) -> None:
        """Do nothing."""

    def keep_only(self, disks: Collection[str], images: Collection[str]) -> None:
        """Do nothing."""

    def machine(self, spec: MachineSpec) -> ScriptedMachine:
        """Return a machine that plays the transcript of this instance."""
        events = self.transcripts.events(spec)
        return ScriptedMachine(
            events,
            self.clock,
            lambda: self._disk_sizes.get(spec.boot_disk, 0),
            spec.attributes,
            lambda address, content: self.send(address, content),
        )

    def close(self) -> None:
        """Do nothing."""
