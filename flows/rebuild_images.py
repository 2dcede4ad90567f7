"""Keeping image families fresh: what has changed is built anew, each recipe for itself."""

import time
from contextlib import suppress
from uuid import UUID

from httpx import HTTPError
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling

from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.families.rebuild import Rebuild, raise_failures
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.interrupts import Interrupts
from cos_customizer.flows.run_log import report_table
from cos_customizer.gcp.rebuild import Planned, RebuildPlan, plan_all, recipe_files, row_of
from cos_customizer.tasks.families import plan_rebuild

_LONGEST = 7 * 24 * 3600.0
_POLL_INTERVAL = 5.0
_SERVER_PATIENCE = 600.0
"""Seconds that the Prefect server may be away while builds are waited for."""
HERE = ""
"""The value of `deployment` that means: in this process, one after another."""


def _run_name() -> str:
    return f"rebuild {', '.join(flow_run.parameters['recipes'])}"[:200]


@flow(name="rebuild-images", flow_run_name=_run_name, persist_result=False, log_prints=False)
def rebuild_images(
    recipes: list[str], force: bool = False, deployment: str = "build-image/build-image"
) -> list[Rebuild]:
    """Build the image of each recipe anew whose source image, build context, steps or options have changed.

    Args:
        recipes: files of recipes, or patterns such as recipes/*.yaml, relative to the working directory: that of the
            deployment, for a worker.
        force: build all of them, changed or not.
        deployment: of build-image, of which each recipe becomes a run of its own; empty: they are built in this run,
            one after another.

    Returns:
        What has become of each recipe.

    Raises:
        UsageError: there is no recipe of a name, or no deployment.
        RebuildFailedError: a recipe has failed; the others were done all the same.
    """
    files = recipe_files(recipes)
    if deployment != HERE and not all(deployment.partition("/")):
        raise UsageError(f"{deployment!r} is no deployment's name", "write it as FLOW/NAME: build-image/build-image.")
    with Interrupts(_LONGEST):
        planned = plan_all(files, force, plan_rebuild, _tell)
        done = _build_here(planned) if deployment == HERE else _build_in_runs(planned, deployment)
    report_table("rebuild-images", [row.model_dump() for row in done], "What has become of each recipe.")
    raise_failures(done)
    return done


def _tell(row: Rebuild) -> None:
    what = row.why if row.outcome != "up-to-date" else f"up to date ({row.image})"
    publish(Note("recipe", f"{row.recipe}: {what}", "error" if row.outcome == "failed" else "info"))


def _build_here(planned: Planned) -> list[Rebuild]:
    return [row_of(file, plan, built=True, failure=_failure_of(plan)) for file, plan in planned.items()]


def _failure_of(plan: RebuildPlan | CustomizerError) -> str:
    if isinstance(plan, RebuildPlan) and plan.why:
        try:
            build_image(plan.spec)
        except CustomizerError as error:
            return error.message
    return ""


def _build_in_runs(planned: Planned, deployment: str) -> list[Rebuild]:
    """One run of the deployment for each recipe, all at once: workers share them out."""
    runs: dict[str, UUID] = {}
    failures: dict[str, str] = {}
    try:
        for file, plan in planned.items():
            if isinstance(plan, RebuildPlan) and plan.why:
                runs[file] = _start(deployment, plan)
        failures = _await(runs)
    except BaseException:
        _cancel(runs)
        raise
    return [row_of(file, plan, built=True, failure=failures.get(file, "")) for file, plan in planned.items()]


def _start(deployment: str, plan: RebuildPlan) -> UUID:
    spec = plan.spec.model_dump(mode="json", exclude_none=True)
    try:
        run = run_deployment(deployment, parameters={"spec": spec}, timeout=0, tags=["rebuild"])
    except ObjectNotFound:
        raise UsageError(
            f"there is no deployment {deployment!r}", "`prefect --no-prompt deploy --all` makes those of prefect.yaml."
        ) from None
    assert isinstance(run, FlowRun)  # in a sync flow it is no coroutine
    return run.id


def _await(runs: dict[str, UUID]) -> dict[str, str]:
    """Wait until all runs have ended; why those failed that did."""
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
            if waiting:
                time.sleep(_POLL_INTERVAL)
    return failures


def _cancel(runs: dict[str, UUID]) -> None:
    """What was started for this run is not to go on without it."""
    with get_client(sync_client=True) as client:
        for run_id in runs.values():
            with suppress(HTTPError):
                run = client.read_flow_run(run_id)
                if run.state is not None and not run.state.is_final():
                    client.set_flow_run_state(run_id, Cancelling())
