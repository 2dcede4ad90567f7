"""The flow that sweeps away what is left of builds, for a schedule."""

import time
from typing import Annotated

from prefect import flow
from pydantic import AfterValidator, AwareDatetime

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families.removal import TIME_LIMIT, Removal, raise_failures
from cos_customizer.customizer.names import check_bucket
from cos_customizer.customizer.spec.values import PositiveDuration, Project
from cos_customizer.flows.prefect_logs import tidy_logs
from cos_customizer.flows.run_log import report_removals
from cos_customizer.flows.time_limit import in_time
from cos_customizer.gcp.sweep import SweepScope
from cos_customizer.tasks import families
from cos_customizer.tasks.operation import in_order

tidy_logs()


@flow(name="sweep", flow_run_name="sweep {project}", persist_result=False)
def sweep(
    project: Project,
    image_projects: list[Project] = [],  # noqa: B006 - a form in the UI shows it, nobody changes it
    gcs_buckets: list[Annotated[str, AfterValidator(check_bucket)]] = [],  # noqa: B006
    dry_run: bool = False,
    as_of: AwareDatetime | None = None,
    timeout: PositiveDuration = TIME_LIMIT,
) -> list[Removal]:
    """Delete what builds have left behind: what bears the label cos-customizer-build and is past its expiry.

    Args:
        project: Project whose VMs and disks are looked at, in all zones.
        image_projects: Projects whose images in the state unreleased are looked at. By default the project.
        gcs_buckets: Buckets whose objects are looked at. By default the project's Cloud Build bucket, if there is one.
        dry_run: Delete nothing: only make the table.
        as_of: Compare expiries with this time instead of now. A time that has not come yet needs dry_run.
        timeout: Time limit of the run as a Go duration. What is not deleted by then stays, and fails the run.

    Returns:
        Everything that bears the label, and what became of it.

    Raises:
        UsageError: things would be deleted before their time.
        CustomizerError: one could not be deleted, or not in time; the others were.
    """
    now = time.time() if as_of is None else as_of.timestamp()
    if now > time.time() and not dry_run:
        raise UsageError("as_of: that time has not come yet", "with dry_run, the table shows what would be deleted.")
    with in_time(timeout), in_order():
        with deadline.before_changes():
            decided = families.plan_sweep(SweepScope(project, image_projects, gcs_buckets), now)
        removals = [removal for _, removal in decided]
        if not dry_run:
            removals = families.delete_leftovers(project, decided, now)
    report_removals(removals, "sweep", "where", f"Left of builds in {project}{' (dry run)' if dry_run else ''}")
    raise_failures(removals)
    return removals
