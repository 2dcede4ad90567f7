"""The order of many builds: which is next, which waits and for what, which is tried again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cos_customizer.customizer.reporting.calls_a_minute import CallsByMinute
from cos_customizer.customizer.reporting.causes import FOR_NOW, Cause

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import BuildSpec

DEFAULT_IN_FLIGHT = 50
"""Runs of a deployment at a time. A worker is told of no more than 200 that wait, so that more of them would hide those
of others: https://github.com/PrefectHQ/prefect/issues/19403."""
TRIES = 4
"""How often a build is begun that fails for want of capacity or quota."""
AGAIN_AFTER = 300.0
"""Seconds after which such a build is begun again at the earliest; twice as many after each further try."""
LOOK_AGAIN = 15.0
"""Seconds after which it is asked again whether a family is free."""

Wait = Literal["family", "capacity", "worker"]
"""For another build of its family; for capacity or quota; for a worker that takes the run."""


@dataclass(frozen=True)
class Attempt:
    """One try of a build that is over.

    Attributes:
        began: Unix time when it was at work; 0 if it never was.
        ended: Unix time.
        failure: why it has failed; empty if it has not.
        cause: the failure's kind; None if it has not failed.
        calls: to Google's APIs that it has made, if it has a process of its own and has told.
    """

    began: float
    ended: float
    failure: str = ""
    cause: Cause | None = None
    calls: CallsByMinute = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it was at work."""
        return max(0.0, self.ended - self.began) if self.began else 0.0


@dataclass(eq=False)
class Job:
    """The build of a recipe's image, and what has become of it so far.

    Attributes:
        recipe: its file.
        number: from 1, in the order of the recipes.
        spec: to build; after a failure for want of capacity its zones are in another order.
        attempts: tries that are over.
        waits: seconds by what it has waited for.
    """

    recipe: str
    number: int
    spec: "BuildSpec"
    attempts: list[Attempt] = field(default_factory=list)
    waits: dict[Wait, float] = field(default_factory=dict)

    @property
    def failure(self) -> str:
        """Why it has failed in the end; empty if it has not."""
        return self.attempts[-1].failure if self.attempts else ""

    @property
    def cause(self) -> Cause | None:
        """The kind of failure that the last try has ended in; None: of none."""
        return self.attempts[-1].cause if self.attempts else None

    def waited(self, what: Wait, seconds: float) -> None:
        """Note down a wait that is over."""
        if seconds > 0:
            self.waits[what] = self.waits.get(what, 0.0) + seconds


@dataclass(eq=False)
class _Place:
    """A place in the queue.

    Attributes:
        job: that has it.
        since: value of `time.monotonic()` from when on it waits; None if that is only for its turn.
        what: for what it waits.
        not_before: when it may be begun.
    """

    job: Job
    since: float | None = None
    what: Wait = "family"
    not_before: float = 0.0


class BuildQueue:
    """Builds that have not begun, in their order.

    Args:
        builds: specifications, by recipe.
    """

    def __init__(self, builds: "Mapping[str, BuildSpec]") -> None:
        self.jobs = [Job(recipe, number, spec) for number, (recipe, spec) in enumerate(builds.items(), start=1)]
        self._places = [_Place(job) for job in self.jobs]

    def __len__(self) -> int:
        """How many builds have not begun."""
        return len(self._places)

    def next(self, now: float, is_taken: "Callable[[BuildSpec], bool]") -> Job | None:
        """The next build to begin; None if there is none that may begin now.

        One whose family is taken lets others pass. It does so for as long as the build itself may take at most; it is
        begun then, and waits in its place.

        Args:
            now: value of `time.monotonic()`.
            is_taken: whether another build of the same family is at work.
        """
        for place in self._places:
            job = place.job
            if now < place.not_before:
                continue
            if place.since is not None:
                job.waited(place.what, now - place.since)
                place.since = now if place.what == "family" else None
            patient = job.waits.get("family", 0.0) < job.spec.timeout_seconds
            if patient and is_taken(job.spec):
                place.since, place.what, place.not_before = now, "family", now + LOOK_AGAIN
                continue
            self._places.remove(place)
            return job
        return None

    def put_back(self, job: Job, now: float) -> bool:
        """Let a build be begun again, later than the others and elsewhere, if another try may help.

        Args:
            job: whose last attempt has failed.
            now: value of `time.monotonic()`.

        Returns:
            Whether it is in the queue again.
        """
        if job.cause not in FOR_NOW or len(job.attempts) >= TRIES:
            return False
        builder = job.spec.builder
        zones = [*builder.zones[1:], builder.zones[0]]
        job.spec = job.spec.model_copy(update={"builder": builder.model_copy(update={"zones": zones})})
        pause = AGAIN_AFTER * 2 ** (len(job.attempts) - 1)
        self._places.append(_Place(job, now, "capacity", now + pause))
        return True

    def give_back(self, job: Job) -> None:
        """Let a build be the next one again that could not be begun."""
        self._places.insert(0, _Place(job))

    def soonest(self) -> float:
        """Value of `time.monotonic()` before which none of the builds may be begun."""
        return min((place.not_before for place in self._places), default=0.0)

    def give_up(self) -> list[Job]:
        """Empty the queue; what was in it."""
        left, self._places = [place.job for place in self._places], []
        return left
