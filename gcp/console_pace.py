"""How often serial consoles are read: by need, and all of a region together within a part of the project's quota.

Processes share nothing but what the cloud itself tells each of them: how many builds have a VM in the region, and how
many reads a minute the project has. Each build takes its own part, so the sum is right wherever the others run.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cos_customizer.customizer.references import VmRef

FASTEST_POLL = 0.5
"""Seconds between two reads of a console that is new or has just spoken, where there is room."""
SLOWEST_POLL = 4.0
"""Seconds between two reads of a console that is silent, where there is room."""
_LATENESS = 1 / 30
"""What a silent console may be read late by, as a share of its silence."""
SHARE = 0.4
"""Of a project's quota, what all builds together read: half of it, less what consoles that begin may have saved up."""
_SAVED = 10.0
"""Seconds whose reads a console may keep for later, when it speaks."""
_ASSUMED = 600.0
"""Reads a minute of a region where the project does not tell its quota, until Compute Engine refuses one."""
_FIRST_LOOK, _LAST_LOOK = 15.0, 60.0
_LOOK_FOR_EACH = 2.0
"""Seconds after which a build looks again how many there are: later while it finds as many as before, and so that all
together look at most every two seconds."""
_READ_LATELY = 60.0
"""Seconds since its last read was due for which a console of this process counts as one that is followed."""
_FIRST_REST, _LONGEST_REST = 2.0, 60.0
"""Seconds without a read after Compute Engine has refused one, twice as long each time: it refills each full minute."""
_LEAST = 1 / 16
"""What is left of the budget after many refusals."""
_FASTER = 1.25
"""What the budget that was cut grows by, for each minute without a refusal."""


@dataclass
class Turns:
    """When one VM's consoles are read.

    Attributes:
        heard: When it spoke last, or began; a value of `time.monotonic()`, as all moments here.
        last: When it was read last.
        due: When it is to be read next.
        saved: Seconds of reading that it has not used yet.
    """

    heard: float
    last: float
    due: float
    saved: float = _SAVED

    def pause(self, now: float, interval: float, spoke: bool) -> float:
        """Note a read, and say when the next one is due.

        Args:
            now: The moment of the read.
            interval: Seconds that each console has for a read of its own, in the long run.
            spoke: The read has brought something.

        Returns:
            Seconds until then.
        """
        if spoke:
            self.heard = now
        self.saved = min(self.saved + now - self.last, max(_SAVED, interval)) - interval
        self.last = now
        need = (now - self.heard) * _LATENESS * max(1.0, interval)
        pause = max(min(max(FASTEST_POLL, need), max(SLOWEST_POLL, 2 * interval)), interval - self.saved)
        self.due = now + pause
        return pause


@dataclass
class Region:
    """What this process knows of a region's consoles. Any thread may use it.

    Attributes:
        clock: Gives the moment, in seconds.
        builds: VMs of builds there, as they were last counted; 0: not counted.
        quota: Reads a minute that the project has there; None: it does not tell.
        quota_asked: The project was asked.
    """

    clock: Callable[[], float] = time.monotonic
    builds: int = 0
    quota: float | None = None
    quota_asked: bool = False
    _turns: dict[VmRef, Turns] = field(default_factory=dict)
    _part: float = 1.0
    _refused: float = 0.0
    _rest: float = 0.0
    _resting_until: float = 0.0
    _look_due: float = 0.0
    _look_pause: float = _FIRST_LOOK
    _builds_before: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_look_due(self) -> bool:
        """Whether the caller is to count the builds now; nobody else is told so for a while."""
        with self._lock:
            now = self.clock()
            if now < self._look_due:
                return False
            is_same, self._builds_before = self.builds == self._builds_before, self.builds
            self._look_pause = min(2 * self._look_pause, _LAST_LOOK) if is_same else _FIRST_LOOK
            self._look_due = now + max(self._look_pause, _LOOK_FOR_EACH * self.builds)
            return True

    def rest(self) -> float:
        """Seconds for which nothing is read, because Compute Engine has refused to."""
        return max(0.0, self._resting_until - self.clock())

    def refused(self) -> None:
        """Note that Compute Engine has refused a read: this process rests, then goes on at half the pace."""
        with self._lock:
            now = self.clock()
            if now < self._resting_until:  # another thread's read, of the same moment
                return
            soon = now < self._resting_until + _LONGEST_REST and self._rest > 0
            self._rest = min(2 * self._rest, _LONGEST_REST) if soon else _FIRST_REST
            self._resting_until = now + self._rest * random.uniform(0.75, 1.25)  # noqa: S311 - not all at once
            self._part, self._refused = max(_LEAST, self._recovered(now) / 2), now

    def pause(self, vm: VmRef, spoke: bool) -> float:
        """Note a read of a VM's console; seconds until the next one is due."""
        with self._lock:
            now = self.clock()
            self._turns = {each: turns for each, turns in self._turns.items() if now - turns.due < _READ_LATELY}
            turns = self._turns.setdefault(vm, Turns(now, now, now))
            return turns.pause(now, self._interval(now), spoke)

    def _recovered(self, now: float) -> float:
        grown: float = self._part * _FASTER ** ((now - self._refused) / 60)
        return min(1.0, grown)

    def _interval(self, now: float) -> float:
        """Seconds that each console has for a read."""
        budget = (SHARE * self.quota if self.quota is not None else _ASSUMED) * self._recovered(now)
        return 60 * max(self.builds, len(self._turns)) / max(budget, 1.0)


_regions: dict[tuple[str, str], Region] = {}


def region_of(vm: VmRef) -> Region:
    """What this process knows of the consoles in a VM's region.

    Args:
        vm: The VM.
    """
    return _regions.setdefault((vm.project, vm.zone.rpartition("-")[0]), Region())
