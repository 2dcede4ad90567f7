"""Builds as runs of a deployment, of which so many are in flight: a worker is played, the Prefect server is one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun, State
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterId
from prefect.deployments import run_deployment
from prefect.states import Completed, Crashed, Failed, Running
from support.output_limits import held
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families import build_queue
from cos_customizer.customizer.families.build_queue import BuildQueue, Job
from cos_customizer.customizer.reporting.calls_a_minute import summed
from cos_customizer.flows import deployed_builds, local_server
from cos_customizer.flows.artifacts import CALLS_LABEL
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.deployed_builds import build_in_runs

pytestmark = pytest.mark.usefixtures("prefect_server")

NO_CAPACITY = "Flow run encountered an exception: StockOutError: could not create builder VM: no capacity"
Answer = Callable[[FlowRun], State[Any] | None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to wait for but each other."""
    monkeypatch.setattr(deployed_builds, "_POLL_INTERVAL", 0.05)
    monkeypatch.setattr(build_queue, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(build_queue, "AGAIN_AFTER", 0.0)
    monkeypatch.setattr(local_server, "is_throw_away", lambda: False)


class Worker:
    """Ends the runs of a deployment as a test has it, one look after the other."""

    def __init__(self, client: SyncPrefectClient, deployment: str, answer: Answer) -> None:
        self.name = f"build-image/{deployment}"
        self._client = client
        self._answer = answer
        self._deployment = client.create_deployment(client.create_flow(build_image), deployment)
        self.most_in_flight = 0
        self.seen: dict[UUID, FlowRun] = {}

    def runs(self) -> list[FlowRun]:
        mine = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[self._deployment]))
        return self._client.read_flow_runs(flow_run_filter=mine)

    def work(self) -> None:
        open_runs = [run for run in self.runs() if run.state and not run.state.is_final()]
        self.most_in_flight = max(self.most_in_flight, len(open_runs))
        for run in open_runs:
            self.seen[run.id] = run
            if state := self._answer(run):
                self._client.set_flow_run_state(run.id, Running(), force=True)
                self._client.set_flow_run_state(run.id, state, force=True)


@contextmanager
def worker(name: str, answer: Answer) -> Iterator[Worker]:
    """A worker at work in a thread of its own."""
    stop = threading.Event()
    with get_client(sync_client=True) as client:
        played = Worker(client, name, answer)

        def work() -> None:
            while not stop.wait(0.05):
                played.work()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield played
        finally:
            stop.set()
            thread.join()


def built(queue: BuildQueue, deployment: str, most: int = 50, end: float = 1e12) -> list[Job]:
    """Build in a flow, as `rebuild-images` does; the builds in the order of their ends."""
    ended: list[Job] = []

    @flow(name="rebuild-images", persist_result=False)
    def rebuild() -> None:
        build_in_runs(queue, deployment, most, end, ended.append)

    rebuild()
    return ended


def queue_of(make_spec: SpecMaker, *names: str, **parts: Any) -> BuildQueue:
    return BuildQueue({f"{name}.yaml": make_spec(output={"name": name, "family": name}, **parts) for name in names})


def image(run: FlowRun) -> str:
    return str(run.parameters["spec"]["output"]["name"])


def test_no_more_runs_are_in_flight_than_may_be_and_the_next_begins_when_one_ends(make_spec: SpecMaker) -> None:
    names = [f"w{number}" for number in range(7)]
    with worker("window", lambda _run: Completed()) as played:
        done = built(queue_of(make_spec, *names), played.name, most=3)
    assert [job.failure for job in done] == [""] * 7
    assert played.most_in_flight <= 3
    assert sorted(image(run) for run in played.seen.values()) == names
    assert {"rebuild", "recipe: w0.yaml"} <= set(next(run for run in played.seen.values() if image(run) == "w0").tags)


def test_the_states_of_runs_are_read_together_as_many_as_the_server_tells_of_in_one_answer(
    make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []

    def ask(any_: list[UUID]) -> Any:
        reads.append(len(any_))
        return FlowRunFilterId(any_=any_)

    monkeypatch.setattr(deployed_builds, "FlowRunFilterId", ask)
    monkeypatch.setattr(deployed_builds, "_READ_AT_ONCE", 4)
    names = [f"r{number}" for number in range(6)]

    def together(_run: FlowRun) -> State[Any] | None:
        return Completed() if (4, 2) in pairwise(reads) else None  # all six were in flight

    with worker("together", together) as played:
        done = built(queue_of(make_spec, *names), played.name)
    assert len(done) == 6
    assert max(reads) == 4


def test_a_family_that_another_build_holds_lets_the_others_pass(make_spec: SpecMaker) -> None:
    with held("h0") as let_go:

        def after_the_others(run: FlowRun) -> State[Any]:
            if image(run) == "h2":
                let_go()
            return Completed()

        with worker("held", after_the_others) as played:
            done = built(queue_of(make_spec, "h0", "h1", "h2"), played.name, most=1)
    assert [job.recipe for job in done] == ["h1.yaml", "h2.yaml", "h0.yaml"]
    assert done[-1].waits["family"] > 0
    assert played.most_in_flight == 1


def test_want_of_capacity_puts_a_build_behind_the_others_and_into_another_zone(make_spec: SpecMaker) -> None:
    def poor(run: FlowRun) -> State[Any]:
        zones = run.parameters["spec"]["builder"]["zones"]
        return Failed(message=NO_CAPACITY) if image(run) == "c0" and zones[0] == "us-west1-a" else Completed()

    queue = queue_of(make_spec, "c0", "c1", builder={"zones": ["us-west1-a", "us-west1-b"]})
    with worker("poor", poor) as played:
        done = built(queue, played.name, most=1)
    assert [(job.recipe, job.failure, len(job.attempts)) for job in done] == [("c1.yaml", "", 1), ("c0.yaml", "", 2)]
    assert "capacity" in done[1].waits


def test_want_of_capacity_is_a_failure_in_the_end(make_spec: SpecMaker) -> None:
    with worker("none-left", lambda _run: Failed(message=NO_CAPACITY)) as played:
        (job,) = built(queue_of(make_spec, "n0"), played.name)
    assert (job.cause, job.failure) == ("stock-out", "could not create builder VM: no capacity")
    assert len(job.attempts) == len(played.seen) == build_queue.TRIES


def test_each_way_in_which_a_run_can_end_is_told(make_spec: SpecMaker) -> None:
    def end(run: FlowRun) -> State[Any] | None:
        with get_client(sync_client=True) as client:
            if image(run) == "gone":
                client.delete_flow_run(run.id)
                return None
            client.update_flow_run_labels(run.id, {CALLS_LABEL: '{"7":{"reads":3}}'})
        return {"good": Completed(), "crashed": Crashed(message="killed"), "bad": Failed(message="no exception")}[
            image(run)
        ]

    with worker("ends", end) as played:
        done = built(queue_of(make_spec, "good", "crashed", "bad", "gone"), played.name)
    assert {job.recipe: (job.cause, job.failure) for job in done} == {
        "good.yaml": (None, ""),
        "crashed.yaml": ("lost-run", "Crashed: killed"),
        "bad.yaml": ("other", "no exception"),
        "gone.yaml": ("lost-run", "its run is gone from the Prefect server"),
    }
    assert summed(job.attempts[0].calls for job in done) == {7: {"reads": 9}}


def test_what_was_started_is_cancelled_when_the_run_is_interrupted(
    make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a run of which nobody has come to know that it was started."""
    started: list[Any] = []

    def start(*arguments: Any, **given: Any) -> Any:
        started.append(run_deployment(*arguments, **given))
        if len(started) == 2:
            raise KeyboardInterrupt
        return started[-1]

    monkeypatch.setattr(deployed_builds, "run_deployment", start)
    with worker("interrupted", lambda _run: None) as played:
        with pytest.raises(KeyboardInterrupt):
            built(queue_of(make_spec, "i0", "i1"), played.name)
        states = {image(run): run.state.type.value for run in played.runs() if run.state}
    assert set(states) == {"i0", "i1"}
    assert set(states.values()) <= {"CANCELLING", "CANCELLED"}


def test_a_start_that_is_tried_twice_makes_one_run(make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has taken the request; its answer was lost on the way."""
    from httpx import ReadError

    lost: list[Any] = []

    def start(*arguments: Any, **given: Any) -> Any:
        run = run_deployment(*arguments, **given)
        if not lost:
            lost.append(run)
            raise ReadError("the connection was closed")
        return run

    monkeypatch.setattr(deployed_builds, "run_deployment", start)
    with worker("twice", lambda _run: Completed() if lost else None) as played:
        done = built(queue_of(make_spec, "t0", "t1"), played.name)
        assert sorted(image(run) for run in played.runs()) == ["t0", "t1"]
    assert [job.failure for job in done] == ["", ""]


def test_a_deployment_that_is_not_there_is_wrong_usage(make_spec: SpecMaker) -> None:
    with pytest.raises(UsageError, match="there is no deployment 'build-image/nowhere'"):
        built(queue_of(make_spec, "x"), "build-image/nowhere")
