"""The parts of Compute Engine that all kinds of resources share."""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute.operations import Operations
from cos_customizer.emulator.compute.store import Store
from cos_customizer.emulator.errors import in_use
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines.backend import Backend


@dataclass(frozen=True, eq=False)
class Reading:
    """A disk that is being read, so that nobody may write to its file meanwhile.

    Attributes:
        path: of the disk.
        refuses: who wants to start a machine on it, or to delete it, is refused. Otherwise that waits.
    """

    path: str
    refuses: bool


class BusyDisks:
    """Disks that are being read, to make an image (which refuses others), a snapshot or another disk of them.

    Nobody reads a disk in the moment in which a machine gets it: later the machine is paused for it.
    """

    def __init__(self) -> None:
        self._busy: list[Reading] = []
        self._given: list[str] = []
        self._changed = threading.Condition()

    def take(self, path: str, *, refuses: bool) -> Reading:
        """Mark a disk as busy, once more if it is already; see `Reading`."""
        reading = Reading(path, refuses)
        with self._changed:
            self._busy.append(reading)
        return reading

    def release(self, reading: Reading) -> None:
        """Undo one `take`."""
        with self._changed:
            self._busy.remove(reading)
            self._changed.notify_all()

    def check(self, path: str) -> None:
        """Refuse a disk that an image is being made of.

        Raises:
            ApiError: 400.
        """
        with self._changed:
            if any(reading.path == path and reading.refuses for reading in self._busy):
                raise in_use(path, "an image that is being made of it")

    def wait(self, path: str) -> None:
        """Return when the disk is not busy."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_busy([path]))

    @contextmanager
    def giving(self, paths: Collection[str]) -> Iterator[None]:
        """Give disks to a machine, as soon as none of them is busy."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_busy(paths))
            self._given += paths
        try:
            yield
        finally:
            with self._changed:
                for path in paths:
                    self._given.remove(path)
                self._changed.notify_all()

    def await_machine(self, path: str) -> None:
        """Return when no machine is just getting the disk, which was taken before."""
        with self._changed:
            self._changed.wait_for(lambda: path not in self._given)

    def _is_busy(self, paths: Collection[str]) -> bool:
        return any(reading.path in paths for reading in self._busy)


@dataclass(frozen=True)
class SharedParts:
    """The parts that images, snapshots, disks, instances and templates share.

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
