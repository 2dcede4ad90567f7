"""Keeping image families fresh: what has changed is built anew, each recipe for itself."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from httpx import HTTPError
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling

from cos_customizer.customizer import deadline
from cos_customizer.customizer.durations import format_duration, parse_duration
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.families.existing import in_words
from cos_customizer.customizer.families.rebuild import Rebuild, raise_failures
from cos_customizer.customizer.reporting.events import BuildBegan, Note, publish
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.customizer.spec.values import PositiveDuration
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.interrupts import DeadlinePassed, Interrupts
from cos_customizer.flows.parameters import name_of_build
from cos_customizer.flows.run_log import report_table
from cos_customizer.flows.time_limit import TimeLimit
from cos_customizer.gcp.rebuild import Planned, RebuildPlan, plan_all, recipe_files, row_of
from cos_customizer.tasks.families import plan_rebuild

_MOST_PLANNING = 3600.0
"""Seconds that finding out what is to be built takes at most, where no time limit is given."""
_MOST_BESIDE_BUILDS = 3600.0
"""The same for what else there is beside builds: workers that are busy or have to start, above all."""
_GRACE = 5.0
"""Seconds after which whatever does not keep to the time is interrupted."""
_POLL_INTERVAL = 5.0
_SERVER_PATIENCE = 600.0
"""Seconds that the Prefect server may be away while builds are waited for."""
_LATE = {
    True: "it was not done when the time was up, and is cancelled: its worker undoes it",
    False: "it was not done when the time was up, and goes on: the Prefect server did not take its cancellation",
}
HERE = ""
"""The value of `deployment` that means: in this process, one after another."""


def _run_name() -> str:
    return f"rebuild {', '.join(flow_run.parameters['recipes'])}"[:200]


@flow(name="rebuild-images", flow_run_name=_run_name, persist_result=False, log_prints=False)
def rebuild_images(
    recipes: list[str],
    force: bool = False,
    deployment: str = "build-image/build-image",
    timeout: PositiveDuration | None = None,
) -> list[Rebuild]:
    """Build the image of each recipe anew whose source image, build context, steps or options have changed.

    Args:
        recipes: files of recipes, or patterns such as recipes/*.yaml, relative to the working directory: that of the
            deployment, for a worker.
        force: build all of them, changed or not.
        deployment: of build-image, of which each recipe becomes a run of its own; empty: they are built in this run,
            one after another.
        timeout: time limit of it all as a Go duration. A build that is at work then is ended and undone, and the
            others are not begun. By default what the builds may take by their own time limits, one after another, and
            two hours.

    Returns:
        What has become of each recipe.

    Raises:
        UsageError: there is no recipe of a name, or no deployment.
        RebuildFailedError: a recipe has failed; the others were done all the same.
    """
    files = recipe_files(recipes)
    if deployment != HERE and not all(deployment.partition("/")):
        raise UsageError(f"{deployment!r} is no deployment's name", "write it as FLOW/NAME: build-image/build-image.")
    limit = TimeLimit.of(parse_duration(timeout) if timeout else _MOST_PLANNING)
    try:
        with _bounded(limit), deadline.before_changes():
            planned = plan_all(files, force, plan_rebuild, _tell)
        builds = _to_be_built(planned)
        if not timeout:
            limit = TimeLimit.of(sum(spec.timeout_seconds for spec in builds.values()) + _MOST_BESIDE_BUILDS)
        with _bounded(limit):
            failures = _build_here(builds) if deployment == HERE else _build_in_runs(builds, deployment, limit)
    except DeadlinePassed:
        raise deadline.TimeUpError("the time was up, and something that was waited for did not answer") from None
    done = [row_of(file, plan, built=True, failure=failures.get(file, "")) for file, plan in planned.items()]
    report_table("rebuild-images", [row.model_dump() for row in done], "What has become of each recipe.")
    raise_failures(done)
    return done


def _tell(row: Rebuild) -> None:
    what = row.why if row.outcome != "up-to-date" else f"up to date ({row.image})"
    publish(Note("recipe", f"{row.recipe}: {what}", "error" if row.outcome == "failed" else "info"))


def _to_be_built(planned: Planned) -> dict[str, BuildSpec]:
    return {file: plan.spec for file, plan in planned.items() if isinstance(plan, RebuildPlan) and plan.why}


@contextmanager
def _bounded(limit: TimeLimit) -> Iterator[None]:
    with Interrupts(limit.end + _GRACE - time.monotonic()), deadline.until(limit.end):
        yield


def _in_time(spec: BuildSpec) -> BuildSpec:
    """The same build, with no more time than is left."""
    left = deadline.left()
    if spec.timeout_seconds <= left:
        return spec
    deadline.check("begin")
    return spec.model_copy(update={"timeout": format_duration(math.ceil(left))})


def _build_here(builds: dict[str, BuildSpec]) -> dict[str, str]:
    """Build in this run, one after another; why those failed that did."""
    failures = {
        file: _build(BuildBegan(spec, file, number, len(builds)))
        for number, (file, spec) in enumerate(builds.items(), start=1)
    }
    return {file: failure for file, failure in failures.items() if failure}


def _build(begun: BuildBegan) -> str:
    """Build; why it failed, or nothing."""
    publish(begun)
    try:
        result = build_image(_in_time(begun.spec))
    except CustomizerError as error:
        publish(Note("recipe", f"{begun.recipe}: {error.message}", "error"))
        return error.message
    if failure := _another_ones(result):
        publish(Note("recipe", f"{begun.recipe}: {failure}", "error"))
        return failure
    publish(Note("recipe", f"{begun.recipe}: {result.image} is there"))
    return ""


def _another_ones(result: BuildResult) -> str:
    """Why a build that has ended well is none of this recipe's; empty if it is one."""
    if result.made_by in (None, "this-recipe"):
        return ""
    return f"{result.image} has come to be there meanwhile, {in_words(result.made_by)}"


def _build_in_runs(builds: dict[str, BuildSpec], deployment: str, limit: TimeLimit) -> dict[str, str]:
    """One run of the deployment for each recipe, all at once: workers share them out. Why those failed that did."""
    runs: dict[str, UUID] = {}
    try:
        for file, spec in builds.items():
            runs[file] = _start(deployment, _in_time(spec))
        if runs:
            publish(Note("runs", f"waiting for {len(runs)} of {deployment}"))
        failures = _await(runs, limit.work)
    except BaseException:
        _cancel(runs)
        raise
    late = {file: run for file, run in runs.items() if file in failures and not failures[file]}
    told = _cancel(late)
    return failures | {file: _LATE[file in told] for file in late}


def _start(deployment: str, spec: BuildSpec) -> UUID:
    parameters = {"spec": spec.model_dump(mode="json", exclude_none=True)}
    try:
        run = run_deployment(
            deployment,
            parameters=parameters,
            timeout=0,
            tags=["rebuild"],
            flow_run_name=name_of_build(spec.output.name or ""),  # or it had one that says nothing until it starts
        )
    except ObjectNotFound:
        raise UsageError(
            f"there is no deployment {deployment!r}", "`prefect --no-prompt deploy --all` makes those of prefect.yaml."
        ) from None
    assert isinstance(run, FlowRun)  # in a sync flow it is no coroutine
    return run.id


def _await(runs: dict[str, UUID], end: float) -> dict[str, str]:
    """Wait until all runs have ended, or the time is up; why those failed that did, empty for those that go on."""
    failures: dict[str, str] = {}
    waiting = dict(runs)
    heard = time.monotonic()
    with get_client(sync_client=True) as client:
        while waiting:
            try:
                for file, run_id in list(waiting.items()):
                    run = client.read_flow_run(run_id)
                    heard = time.monotonic()
                    if run.state is None or not run.state.is_final():
                        continue
                    del waiting[file]
                    if not run.state.is_completed():
                        failures[file] = f"{run.state.name}: {run.state.message or 'no reason was given'}"
                    publish(Note("run", f"{file}: {run.name} is {str(run.state.name).lower()}"))
            except HTTPError:  # a server that restarts is no reason to cancel builds that know nothing of it
                if time.monotonic() - heard > _SERVER_PATIENCE:
                    raise
            if time.monotonic() >= end:
                return failures | dict.fromkeys(waiting, "")
            if waiting:
                time.sleep(min(_POLL_INTERVAL, end - time.monotonic()))
    return failures


def _cancel(runs: dict[str, UUID]) -> set[str]:
    """What was started for this run is not to go on without it; returns which of them were told."""
    told: set[str] = set()
    with get_client(sync_client=True) as client:
        for file, run_id in runs.items():
            with suppress(HTTPError):
                run = client.read_flow_run(run_id)
                if run.state is not None and not run.state.is_final():
                    client.set_flow_run_state(run_id, Cancelling())
                told.add(file)
    return told
