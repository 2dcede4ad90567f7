"""Faults on demand, ordered by tests and curious users: what goes wrong in a cloud."""

import itertools
import threading
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args

from cos_customizer.emulator.patterns import Pattern

Kind = Literal["http", "drop", "delay", "hold", "operation", "silent", "serial-loss", "crash", "disk-stays"]


@dataclass
class Fault:
    """Something that goes wrong on the next `count` occasions that match.

    Attributes:
        kind: what happens.
            `http`: the request is answered with `status` and `reason` and not carried out.
            `drop`: the connection is cut without an answer, `when` the request was carried out or before.
            `delay`: the answer comes `seconds` late.
            `hold`: the request waits, `when` it was carried out or before, until this fault is removed.
            `operation`: the operation ends in error `code` after `seconds` (on the emulator's clock); with `leave`,
            what it was making stays behind, as FAILED. An empty `code` only slows the operation down.
            `silent`: a VM that prints nothing.
            `serial-loss`: `bytes` of a VM's output are lost at the next read.
            `crash`: a VM stops dead `seconds` after it was started (on the emulator's clock).
            `disk-stays`: disks that should be deleted with a VM stay behind.
        method: HTTP method, several with `|` between them, empty for any.
        path: regular expression searched in the request's path (for operations: the target's path), empty for any.
        name: regular expression that a VM's whole name matches, empty for any.
        skip: how many occasions pass before it happens.
        count: how many times it happens; 0 means without end.
        held: how many requests wait because of a `hold`; it stays in the list while any does.
        port: serial port of a `serial-loss`.
    """

    kind: Kind
    method: str = ""
    path: str = ""
    name: str = ""
    skip: int = 0
    count: int = 1
    status: int = 503
    reason: str = "backendError"
    message: str = ""
    code: str = ""
    seconds: float = 0.0
    when: Literal["before", "after"] = "before"
    leave: bool = False
    port: int = 3
    bytes: int = 0
    held: int = 0
    id: int = 0

    def __post_init__(self) -> None:
        for name, wanted in FIELDS.items():
            value = getattr(self, name)
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                raise ValueError(f"{name}: it is to be of type {wanted.__name__}")
            least, most = _BOUNDS.get(name, _BOUND)
            if isinstance(value, int | float) and wanted is not bool and not least <= value <= most:
                raise ValueError(f"{name}: it is to be from {least:,} to {most:,}")
        if self.kind not in get_args(Kind):
            raise ValueError(f"no such fault: {self.kind} (there are {', '.join(get_args(Kind))})")
        if self.when not in ("before", "after"):
            raise ValueError("when: before or after")
        for pattern in (self.path, self.name):
            try:
                Pattern(pattern)
            except ValueError as error:
                raise ValueError(f"not a regular expression: {pattern} ({error})") from None


FIELDS: dict[str, type] = {
    each.name: str if each.default is MISSING else type(each.default)
    for each in fields(Fault)
    if each.name not in ("held", "id")
}
"""What whoever orders a fault may say, with its type; a `float` may be an `int`, too."""
_BOUND = (0, 10**9)
"""The least and the greatest that numbers may be, unless the field has bounds of its own."""
_BOUNDS = {"status": (400, 599), "port": (1, 4)}


class Faults:
    """The ordered faults. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._released = threading.Condition(self._lock)
        self._faults: list[Fault] = []
        self._holding: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, kind: Kind, **fields: Any) -> int:
        """Order a fault; see `Fault` for the fields. Faults are tried in the order in which they were added.

        Returns:
            Its id.

        Raises:
            ValueError: an unknown field, kind or a bad pattern.
        """
        try:
            fault = Fault(kind, **fields)
        except TypeError as error:
            raise ValueError(str(error).replace("Fault.__init__() ", "")) from None
        with self._lock:
            fault.id, fault.held = next(self._ids), 0
            self._faults.append(fault)
        return fault.id

    def list(self) -> list[dict[str, Any]]:
        """Return the faults still to come."""
        with self._lock:
            used_up = [fault for fault in self._holding if fault not in self._faults]
            return [asdict(fault) for fault in (*used_up, *self._faults)]

    def clear(self, fault_id: int | None = None) -> None:
        """Remove one fault, or all. Requests that it holds go on."""
        with self._lock:
            self._faults = [fault for fault in self._faults if fault_id not in (None, fault.id)]
            self._holding = [fault for fault in self._holding if fault_id not in (None, fault.id)]
            self._released.notify_all()

    def hold(self, fault: Fault) -> None:
        """Wait until a fault of kind `hold`, which `take` has returned, is removed."""
        with self._lock:
            fault.held += 1
            while any(each.id == fault.id for each in self._holding):
                self._released.wait()

    def take(self, *kinds: Kind, method: str = "", path: str = "", name: str = "", port: int = 0) -> Fault | None:
        """Return the first fault of these kinds that matches the occasion, or None; it is used up once."""
        with self._lock:
            for fault in self._faults:
                if (
                    fault.kind in kinds
                    and (not fault.method or method in fault.method.split("|"))
                    and Pattern(fault.path).search(path)
                    and (not fault.name or Pattern(fault.name).fullmatch(name))
                    and (not port or fault.port == port)
                ):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.count -= 1
                    if fault.count == 0:
                        self._faults = [each for each in self._faults if each is not fault]
                    if fault.kind == "hold" and fault not in self._holding:
                        self._holding.append(fault)
                    return fault
        return None
