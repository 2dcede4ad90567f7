"""Keeping image families fresh: what has changed is built anew, each recipe for itself."""

import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from glob import glob, has_magic
from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from cos_customizer.customizer.errors import BuildFailedError, CustomizerError, UsageError
from cos_customizer.customizer.events import Note
from cos_customizer.customizer.rebuild import Rebuild
from cos_customizer.customizer.recipe import read_recipe
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.interrupts import Interrupts
from cos_customizer.gcp.rebuild import RebuildPlan
from cos_customizer.tasks.rebuild import plan_rebuild
from cos_customizer.tasks.reporting import report, report_table

_LONGEST = 7 * 24 * 3600.0
_POLL_INTERVAL = 5.0
HERE = ""
"""The value of `deployment` that means: in this process, one after another."""


@flow(name="rebuild-images", persist_result=False, log_prints=False)
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
        UsageError: there is no recipe of a name.
        BuildFailedError: a recipe has failed; the others were done all the same.
    """
    files = _files(recipes)
    with Interrupts(_LONGEST):
        planned = _plan(files, force)
        done = _build_here(planned) if deployment == HERE else _build_in_runs(planned, deployment)
    report_table("rebuild-images", [row.model_dump() for row in done], "What has become of each recipe.")
    if failed := [row for row in done if row.outcome == "failed"]:
        raise BuildFailedError(
            f"{len(failed)} of {len(done)} recipes failed: " + "; ".join(f"{row.recipe}: {row.why}" for row in failed),
            "the others are done: what they have built stays.",
        )
    return done


def _files(recipes: Sequence[str]) -> list[str]:
    found: list[str] = []
    for recipe in recipes:
        # pathlib has no pattern that may be absolute.
        matches = sorted(glob(recipe, recursive=True)) if has_magic(recipe) else [recipe]  # noqa: PTH207
        if not matches:
            raise UsageError(f"no recipe matches {recipe!r} in {str(Path.cwd())!r}")
        found += [match for match in matches if match not in found]
    if not found:
        raise UsageError("no recipe was given", "recipes: a list of files, or patterns such as recipes/*.yaml.")
    return found


Planned = dict[str, RebuildPlan | CustomizerError]


def _plan(files: Sequence[str], force: bool) -> Planned:
    """What each recipe comes to; one that cannot be planned fails alone."""
    planned: Planned = {}
    names: list[str] = []
    families: dict[tuple[str, str | None], str] = {}
    day = datetime.now(UTC).date()
    for file in files:
        try:
            spec = read_recipe(Path(file)).spec()
            family = (spec.output.project, spec.output.family)
            if family[1] and (other := families.setdefault(family, file)) != file:
                raise UsageError(f"it has the family of {other}", "they would replace each other's images for ever.")
            with tempfile.TemporaryDirectory(prefix="cos-customizer-") as directory:
                plan = plan_rebuild(file, spec, Path(directory), force, day, names)
        except CustomizerError as error:
            planned[file] = error
            report(Note("recipe", f"{file}: {error.message}", "error"))
            continue
        planned[file] = plan
        names += [plan.spec.output.name or ""] if plan.why else []
        report(Note("recipe", f"{file}: {plan.why or f'up to date ({plan.newest})'}"))
    return planned


def _build_here(planned: Planned) -> list[Rebuild]:
    return [_row(file, plan, _failure_of(plan)) for file, plan in planned.items()]


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
    return [_row(file, plan, failures.get(file, "")) for file, plan in planned.items()]


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
    with get_client(sync_client=True) as client:
        while waiting:
            for file, run_id in list(waiting.items()):
                run = client.read_flow_run(run_id)
                if run.state is None or not run.state.is_final():
                    continue
                del waiting[file]
                if not run.state.is_completed():
                    failures[file] = f"{run.state.name}: {run.state.message or 'no reason was given'}"
                report(Note("run", f"{file}: {run.name} is {str(run.state.name).lower()}"))
            if waiting:
                time.sleep(_POLL_INTERVAL)
    return failures


def _cancel(runs: dict[str, UUID]) -> None:
    """What was started for this run is not to go on without it."""
    with get_client(sync_client=True) as client:
        for run_id in runs.values():
            run = client.read_flow_run(run_id)
            if run.state is not None and not run.state.is_final():
                client.set_flow_run_state(run_id, Cancelling())


def _row(file: str, plan: RebuildPlan | CustomizerError, failure: str) -> Rebuild:
    if isinstance(plan, CustomizerError):
        return Rebuild(recipe=file, why=plan.message)
    family = plan.spec.output.family or ""
    if not plan.why:
        return Rebuild(recipe=file, family=family, outcome="up-to-date", image=plan.newest, why="nothing has changed")
    if failure:
        return Rebuild(recipe=file, family=family, image=plan.newest, why=failure)
    return Rebuild(recipe=file, family=family, outcome="built", image=plan.spec.output.name or "", why=plan.why)
