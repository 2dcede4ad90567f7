# ruff: noqa: ARG002 (scripted machines care little for what they are told)
"""Machines that play a given serial transcript: no files, no processes, no waiting that the script does not ask for."""

import base64
import itertools
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.machines.backend import (
    SERIAL_PORTS,
    SERIAL_RING_BYTES,
    EmulatorError,
    MachineSpec,
    SerialChunk,
)

Event = Mapping[str, Any]
"""One thing that a scripted machine does. `after` (seconds on the emulator's clock after the event before, 0 = at once)
with either `text` or `base64` on a `port` (3 unless told), `power_off`, `crash` (both stop it), or `reboot` (nothing is
seen of it from outside; the events after it are what the machine does then). A `text` may hold `${variable}`."""

Play = Callable[[MachineSpec], Sequence[Event]]

_KEYS = {"after", "port", "text", "base64", "power_off", "crash", "reboot"}


@dataclass(frozen=True)
class Script:
    """A transcript and the instances it is for.

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
            if unknown := set(event) - _KEYS:
                raise ValueError(f"script: event with unknown {', '.join(sorted(unknown))}")
            if event.get("port", 3) not in SERIAL_PORTS:
                raise ValueError(f"script: no serial port {event['port']}")

    def matches(self, spec: MachineSpec) -> bool:
        """Whether the script is for this instance."""
        if not re.fullmatch(self.match.get("name", ".*"), spec.name):
            return False
        if not re.fullmatch(self.match.get("zone", ".*"), spec.zone):
            return False
        wanted: Mapping[str, str] = self.match.get("metadata", {})
        return all(re.search(pattern, spec.attributes.get(key, "")) for key, pattern in wanted.items())

    def play(self, spec: MachineSpec) -> list[Event]:
        """The events with the variables filled in.

        Raises:
            EmulatorError: the metadata holds no value for a variable.
        """
        values: dict[str, str] = {}
        for name, source in self.variables.items():
            found = re.search(source["pattern"], spec.attributes.get(source["metadata"], ""))
            if not found:
                raise EmulatorError(
                    f"script: metadata {source['metadata']!r} of {spec.name} holds no {name}",
                    f"the pattern is {source['pattern']!r}",
                )
            values[name] = found.group(1)
        return [
            {**e, "text": re.sub(r"\$\{(\w+)\}", lambda m: values.get(m[1], m[0]), e["text"])} if "text" in e else e
            for e in self.events
        ]


class Scripts:
    """The scripts for new machines; the last one added that matches is played, none means a silent machine."""

    def __init__(self) -> None:
        self._scripts: dict[int, Script | Play] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, script: Script | Mapping[str, Any] | Play) -> int:
        """Add a script, its JSON form (`events`, `match`, `variables`), or a function from instance to events.

        Returns:
            Its id.

        Raises:
            ValueError: the JSON form is wrong.
        """
        if isinstance(script, Mapping):
            try:
                script = Script(**script)
            except TypeError as error:
                raise ValueError(str(error).replace("Script.__init__() ", "script: ")) from None
        with self._lock:
            number = next(self._ids)
            self._scripts[number] = script
        return number

    def list(self) -> list[dict[str, Any]]:
        """The scripts in JSON form."""
        with self._lock:
            scripts = list(self._scripts.items())
        shown = []
        for number, script in scripts:
            if isinstance(script, Script):
                shown.append({"id": number, "match": script.match, "variables": script.variables})
                shown[-1]["events"] = list(script.events)
            else:
                shown.append({"id": number, "function": getattr(script, "__name__", repr(script))})
        return shown

    def clear(self, number: int | None = None) -> None:
        """Remove one script, or all."""
        with self._lock:
            self._scripts = {n: s for n, s in self._scripts.items() if number is not None and n != number}

    def events(self, spec: MachineSpec) -> Sequence[Event]:
        """What a new machine for this instance does."""
        with self._lock:
            scripts = list(self._scripts.values())
        for script in reversed(scripts):
            if not isinstance(script, Script):
                return list(script(spec))
            if script.matches(spec):
                return script.play(spec)
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
    """Plays events. What is due is worked out when somebody looks, so no thread is needed."""

    def __init__(self, events: Sequence[Event], clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._rings = {port: _Ring() for port in SERIAL_PORTS}
        self._lock = threading.Lock()
        self._running = False
        self._next = 0
        self._due = 0.0

    def power_on(self) -> None:
        """Play the script from its beginning."""
        with self._lock:
            self._running = True
            self._next = 0
            self._due = self._clock.now()

    def press_power_button(self) -> None:
        """Stops at once: scripts have no say in it."""
        self.cut_power()

    def cut_power(self) -> None:
        """Stop playing."""
        with self._lock:
            self._play()
            self._running = False

    @property
    def running(self) -> bool:
        """Whether it is on."""
        with self._lock:
            self._play()
            return self._running

    def serial_output(self, port: int, start: int) -> SerialChunk:
        """What has been printed from `start` on."""
        with self._lock:
            self._play()
            return self._rings[port].read(start)

    def update_attributes(self, attributes: Mapping[str, str]) -> None:
        """Nothing looks at them any more."""

    def _play(self) -> None:
        now = self._clock.now()
        while self._running and self._next < len(self._events):
            event = self._events[self._next]
            due = self._due + float(event.get("after", 0))
            if due > now:
                return
            self._due = due
            self._next += 1
            if "text" in event:
                self._rings[event.get("port", 3)].write(event["text"].encode())
            if "base64" in event:
                self._rings[event.get("port", 3)].write(base64.b64decode(event["base64"]))
            if event.get("power_off") or event.get("crash"):
                self._running = False


class ScriptedBackend:
    """The backend of scripted machines: disks and images have no content.

    Attributes:
        scripts: what they do.
        clock: the one that they go by.
    """

    name = "scripted"

    def __init__(self, scripts: Scripts | None = None) -> None:
        self.scripts = scripts or Scripts()
        self.clock = Clock()

    def prepare(self) -> None:
        """Nothing is needed."""

    def create_disk(self, key: str, image: str | None, size_gb: int) -> None:
        """Nothing is kept."""

    def delete_disk(self, key: str) -> None:
        """Nothing is kept."""

    def create_image(self, key: str, disk: str) -> int:
        """A plausible size in bytes."""
        return 100 << 20

    def delete_image(self, key: str) -> None:
        """Nothing is kept."""

    def machine(self, spec: MachineSpec) -> ScriptedMachine:
        """A machine that plays the script for this instance."""
        return ScriptedMachine(self.scripts.events(spec), self.clock)

    def close(self) -> None:
        """Nothing runs."""
