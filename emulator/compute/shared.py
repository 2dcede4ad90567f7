"""The parts of Compute Engine that all kinds of resources share."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute.operations import Operations
from cos_customizer.emulator.compute.store import Store
from cos_customizer.emulator.errors import in_use
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines.backend import Backend


class BusyDisks:
    """Disks that are being read to make an image: no machine may run on them, nobody may delete them meanwhile."""

    def __init__(self) -> None:
        self._busy: list[str] = []
        self._changed = threading.Condition()

    def take(self, path: str) -> None:
        """Mark a disk as busy, once more if it is already."""
        with self._changed:
            self._busy.append(path)

    def release(self, path: str) -> None:
        """Undo one `take`."""
        with self._changed:
            self._busy.remove(path)
            self._changed.notify_all()

    def check(self, path: str) -> None:
        """Refuse a disk that is busy.

        Raises:
            ApiError: 400.
        """
        if path in self._busy:
            raise in_use(path, "an image that is being made of it")

    def wait(self, path: str) -> None:
        """Return when the disk is not busy."""
        with self._changed:
            self._changed.wait_for(lambda: path not in self._busy)


@dataclass(frozen=True)
class SharedParts:
    """The parts that images, disks, instances and templates share.

    Attributes:
        storage: returns `HOST:PORT` of Cloud Storage.
    """

    store: Store
    operations: Operations
    clock: Clock
    faults: Faults
    backend: Backend
    storage: Callable[[], str]
    busy_disks: BusyDisks = field(default_factory=BusyDisks)
