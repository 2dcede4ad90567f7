"""Keeping image families fresh: what has changed is built anew, each recipe for itself."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from pydantic import Field

from cos_customizer.customizer import deadline
from cos_customizer.customizer.durations import parse_duration
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families.build_queue import DEFAULT_IN_FLIGHT, BuildQueue, Job
from cos_customizer.customizer.families.night import Night
from cos_customizer.customizer.families.rebuild import Rebuild, folded, raise_failures
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.customizer.spec.values import PositiveDuration
from cos_customizer.flows import local_server
from cos_customizer.flows.builds_here import build_here
from cos_customizer.flows.deployed_builds import build_in_runs
from cos_customizer.flows.failures_in_a_row import FailuresInARow
from cos_customizer.flows.interrupts import DeadlinePassed, Interrupts
from cos_customizer.flows.rebuild_planning import decide, recipe_files
from cos_customizer.flows.run_log import report_table
from cos_customizer.flows.time_limit import TimeLimit
from cos_customizer.gcp.call_counts import counts

_MOST_PLANNING = 3600.0
"""Seconds that finding out what is to be built takes at most, where no time limit is given."""
_MOST_BESIDE_BUILDS = 3600.0
"""The same for what else there is beside builds: workers that are busy or have to start, above all."""
_GRACE = 5.0
"""Seconds after which whatever does not keep to the time is interrupted."""
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
    max_in_flight: Annotated[int, Field(ge=1)] = DEFAULT_IN_FLIGHT,
    after_failures: Annotated[int | None, Field(ge=1)] = None,
) -> list[Rebuild]:
    """Build the image of each recipe anew whose source image, build context, steps or options have changed.

    Args:
        recipes: files of recipes, or patterns such as recipes/*.yaml, relative to the working directory: that of the
            deployment, for a worker.
        force: build all of them, changed or not, and those that have failed too often.
        deployment: of build-image, of which each recipe becomes a run of its own; empty: they are built in this run,
            one after another.
        timeout: time limit of it all as a Go duration. A build that is at work then is ended and undone, and the
            others are not begun. By default what the builds may take by their own time limits, one after another, and
            two hours.
        max_in_flight: runs of the deployment that are in flight at a time; the next begins when one ends.
        after_failures: failures in a row after which a recipe is left alone until it changes, or its source image
            does. By default each is tried every time.

    Returns:
        What has become of each recipe.

    Raises:
        UsageError: there is no recipe of a name, or no deployment.
        RebuildFailedError: a recipe has failed; the others were done all the same.
    """
    files = recipe_files(recipes)
    if deployment != HERE and not all(deployment.partition("/")):
        raise UsageError(f"{deployment!r} is no deployment's name", "write it as FLOW/NAME: build-image/build-image.")
    began = time.monotonic()
    limit = TimeLimit.of(parse_duration(timeout) if timeout else _MOST_PLANNING)
    failures = FailuresInARow(after_failures)
    try:
        with _bounded(limit), deadline.before_changes():
            plans, rows = decide(files, force, failures)
        _tell(rows)
        queue = BuildQueue({file: plans[file].spec for file, row in rows.items() if row.outcome == "to-build"})

        def note(job: Job) -> None:
            row = rows[job.recipe].after(job, plans[job.recipe].newest)
            rows[job.recipe] = failures.note(row, plans[job.recipe])
            if row.outcome == "failed":
                publish(Note("recipe", f"{job.recipe}: {rows[job.recipe].why}", "error"))

        if not timeout:
            limit = TimeLimit.of(sum(job.spec.timeout_seconds for job in queue.jobs) + _MOST_BESIDE_BUILDS)
        with _bounded(limit):
            if deployment == HERE:
                build_here(queue, note)
            elif queue:
                build_in_runs(queue, deployment, max_in_flight, limit.work, note)
    except DeadlinePassed:
        raise deadline.TimeUpError("the time was up, and something that was waited for did not answer") from None
    done = list(rows.values())
    sources = Counter(plan.source for plan in plans.values())
    at_most = 1 if deployment == HERE else max_in_flight
    took = time.monotonic() - began
    _report(Night(done, queue.jobs, took, at_most, sources, counts.since(time.time() - took)))
    raise_failures(done)
    return done


def _tell(rows: Mapping[str, Rebuild]) -> None:
    """Say what is remarkable; what is as it was, and what was told before, by its number."""
    for row in folded(list(rows.values())):
        if row.outcome == "up-to-date":
            publish(Note("recipe", f"{row.recipe}: up to date" + (f" ({row.image})" if row.image else "")))
        elif row.outcome != "skipped":
            publish(Note("recipe", f"{row.recipe}: {row.why}", "error" if row.outcome == "failed" else "info"))
    if skipped := sum(row.outcome == "skipped" for row in rows.values()):
        publish(Note("recipe", f"{skipped} left alone, which have failed too often"))


@contextmanager
def _bounded(limit: TimeLimit) -> Iterator[None]:
    with Interrupts(limit.end + _GRACE - time.monotonic()), deadline.until(limit.end):
        yield


def _report(night: Night) -> None:
    """Leave table and page with the run; nobody sees those of a server of the command's own."""
    publish(Note("in all", night.summary))
    if local_server.is_throw_away():
        return
    rows = [row.model_dump(mode="json", exclude={"waited"}) for row in folded(night.rows)]
    report_table("rebuild-images", rows, f"What has become of each recipe: {night.summary}.")
    try:
        create_markdown_artifact(night.page(), "rebuild-images-report", night.summary)
    except Exception as error:  # the Prefect API's trouble, not ours
        publish(Note("prefect", f"the report could not be stored: {error}", "warning"))
