"""Many builds as runs of a deployment: so many in flight at a time, spread over its workers."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Cancelling

from cos_customizer.customizer.deadline import TimeUpError
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families.build_queue import Attempt, BuildQueue, Job
from cos_customizer.customizer.reporting.calls_a_minute import from_text
from cos_customizer.customizer.reporting.causes import cause_in
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.flows.artifacts import CALLS_LABEL, REBUILD_TAG
from cos_customizer.flows.builds_here import NOT_BEGUN, in_time, told_again
from cos_customizer.flows.output_limit import is_taken
from cos_customizer.flows.parameters import name_of_build

_READ_AT_ONCE = 200
"""Runs that the server tells of in one answer: the limit of its API."""
_POLL_INTERVAL = 2.0
_SERVER_PATIENCE = 600.0
"""Seconds that the Prefect server may be away while builds are waited for."""
_LATE = {
    True: "it was not done when the time was up, and is cancelled: its worker undoes it",
    False: "it was not done when the time was up, and goes on: the Prefect server did not take its cancellation",
}
_GONE = "its run is gone from the Prefect server"


def build_in_runs(queue: BuildQueue, deployment: str, most: int, end: float, on_ended: Callable[[Job], object]) -> None:
    """Build what is in a queue: the next run begins when one ends, until the queue is empty or the time is up.

    What was started for this run does not go on without it: it is cancelled, however this ends.

    Args:
        queue: of the builds; empty at the end.
        deployment: of build-image, as FLOW/NAME.
        most: runs in flight at a time.
        end: value of `time.monotonic()` when the time is up.
        on_ended: called with each build that is over.

    Raises:
        UsageError: there is no such deployment.
        HTTPError: the Prefect server was away for too long.
    """
    publish(Note("runs", f"{len(queue)} of {deployment}, at most {most} in flight"))
    with get_client(sync_client=True) as client:
        window = _Window(client, queue, deployment, most, on_ended)
        try:
            window.work(end)
        except BaseException:
            window.cancel()
            raise
        window.give_up()


class _Window:
    """The runs in flight."""

    def __init__(
        self,
        client: SyncPrefectClient,
        queue: BuildQueue,
        deployment: str,
        most: int,
        on_ended: Callable[[Job], object],
    ) -> None:
        self._client = client
        self._queue = queue
        self._deployment = deployment
        self._most = most
        self._on_ended = on_ended
        self._runs: dict[UUID, Job] = {}
        self._cut_short: set[UUID] = set()
        self._heard = time.monotonic()

    def work(self, end: float) -> None:
        """Begin runs and see them end, until none is left or the time is up."""
        while (self._runs or self._queue) and time.monotonic() < end:
            with self._patient():
                self._begin()
            if self._runs or self._queue:
                time.sleep(max(0.0, min(_POLL_INTERVAL, end - time.monotonic())))
                with self._patient():
                    self._look()

    def give_up(self) -> None:
        """The time is up, or nothing is left: cancel what is in flight, begin nothing more."""
        late = dict(self._runs)
        told = self.cancel() if late else set()
        for run_id, job in late.items():
            self._end(job, Attempt(0.0, time.time(), _LATE[run_id in told], "late"))
        for job in self._queue.give_up():
            self._end(job, Attempt(0.0, time.time(), NOT_BEGUN, "late"))

    def cancel(self) -> set[UUID]:
        """Cancel what was started for this run, also what was never seen to start; which runs the server knows of."""
        told: set[UUID] = set()
        mine = FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[UUID(str(flow_run.id))]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=list(TERMINAL_STATES))),
        )
        found: dict[UUID, FlowRun] = {}
        with suppress(HTTPError):
            found |= {run.id: run for run in self._read(self._runs)}
            found |= {run.id: run for run in self._client.read_flow_runs(flow_run_filter=mine)}
        for run in found.values():
            with suppress(HTTPError, ObjectNotFound):
                if run.state is not None and not run.state.is_final():
                    self._client.set_flow_run_state(run.id, Cancelling())
                told.add(run.id)
        return told

    def _begin(self) -> None:
        while len(self._runs) < self._most:
            job = self._queue.next(time.monotonic(), is_taken)
            if job is None:
                return
            try:
                self._start(job)
            except TimeUpError as error:
                self._end(job, Attempt(0.0, time.time(), error.message, "late"))
            except ObjectNotFound:
                raise UsageError(
                    f"there is no deployment {self._deployment!r}",
                    "`prefect --no-prompt deploy --all` makes those of prefect.yaml.",
                ) from None
            except HTTPError as error:
                if _is_refused(error):
                    self._end(job, Attempt(0.0, time.time(), f"the Prefect server refuses its run: {error}", "other"))
                    continue
                self._queue.give_back(job)
                raise

    def _start(self, job: Job) -> None:
        bounded = in_time(job.spec)
        run = run_deployment(
            self._deployment,
            parameters={"spec": bounded.model_dump(mode="json", exclude_none=True)},
            timeout=0,
            tags=[REBUILD_TAG, f"recipe: {job.recipe}"],
            flow_run_name=name_of_build(job.spec.output.name or ""),  # or it had one that says nothing until it starts
            # A request whose answer was lost makes no second run.
            idempotency_key=f"{flow_run.id}-{flow_run.run_count}-{job.number}-{len(job.attempts)}",
        )
        assert isinstance(run, FlowRun)  # in a sync flow it is no coroutine
        self._runs[run.id] = job
        if bounded is not job.spec:
            self._cut_short.add(run.id)

    def _look(self) -> None:
        """See which runs are over."""
        found = {run.id: run for run in self._read(self._runs)}
        for run_id, job in list(self._runs.items()):
            run = found.get(run_id)
            if run is not None and (run.state is None or not run.state.is_final()):
                continue
            del self._runs[run_id]
            self._end(job, self._attempt(run) if run is not None else Attempt(0.0, time.time(), _GONE, "lost-run"))
            if run is not None and run.state is not None:
                publish(Note("run", f"{job.recipe}: {run.name} is {str(run.state.name).lower()}"))
            if run is not None and run.start_time is not None and run.expected_start_time is not None:
                job.waited("worker", (run.start_time - run.expected_start_time).total_seconds())

    def _end(self, job: Job, attempt: Attempt) -> None:
        job.attempts.append(attempt)
        if not told_again(self._queue, job):
            self._on_ended(job)

    def _attempt(self, run: FlowRun) -> Attempt:
        state = run.state
        assert state is not None
        calls = from_text(str(run.labels.get(CALLS_LABEL, "")))
        ended = Attempt(_seconds(run.start_time), _seconds(run.end_time) or time.time(), calls=calls)
        if state.is_completed():
            return ended
        message = state.message or "no reason was given"
        if not state.is_failed():
            return replace(ended, failure=f"{state.name}: {message}", cause="lost-run")
        cause, words = cause_in(message)
        is_late = cause == "timeout" and run.id in self._cut_short
        return replace(ended, failure=words, cause="late" if is_late else cause)

    def _read(self, wanted: Collection[UUID]) -> Iterator[FlowRun]:
        """Runs as the server has them, hundreds in one call."""
        ids = list(wanted)
        for first in range(0, len(ids), _READ_AT_ONCE):
            some = FlowRunFilter(id=FlowRunFilterId(any_=ids[first : first + _READ_AT_ONCE]))
            yield from self._client.read_flow_runs(flow_run_filter=some, limit=_READ_AT_ONCE)

    @contextmanager
    def _patient(self) -> Iterator[None]:
        """A server that restarts is no reason to cancel builds that know nothing of it."""
        try:
            yield
            self._heard = time.monotonic()
        except HTTPError:
            if time.monotonic() - self._heard > _SERVER_PATIENCE:
                raise


def _is_refused(error: HTTPError) -> bool:
    """Whether the server has understood a request, and will not have it however often it is sent."""
    return isinstance(error, PrefectHTTPStatusError) and error.response.status_code in (409, 422)


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else 0.0
