"""The flow that deletes images past their date of deletion, for a schedule."""

import time
from typing import Annotated

from prefect import flow
from pydantic import Field

from cos_customizer.customizer import deadline
from cos_customizer.customizer.families.image_expiry import DEFAULT_KEEP_LAST, Retention
from cos_customizer.customizer.families.removal import TIME_LIMIT, Removal, raise_failures
from cos_customizer.customizer.reporting.events import listening
from cos_customizer.customizer.spec.values import PositiveDuration, Project, ResourceName
from cos_customizer.flows.announcements import announce
from cos_customizer.flows.prefect_logs import tidy_logs
from cos_customizer.flows.run_log import report_removals
from cos_customizer.flows.time_limit import in_time
from cos_customizer.tasks import families
from cos_customizer.tasks.operation import in_order

tidy_logs()

_NAMED = 5
"""Families that the table's description names; of more it tells the number."""


@flow(name="expire-images", flow_run_name="expire images of {project}", persist_result=False)
def expire_images(
    project: Project,
    image_families: Annotated[list[ResourceName], Field(min_length=1)],
    keep_last: Annotated[int, Field(ge=0)] = DEFAULT_KEEP_LAST,
    include_others: bool = False,
    disk_projects: list[Project] = [],  # noqa: B006 - a form in the UI shows it, nobody changes it
    dry_run: bool = False,
    timeout: PositiveDuration = TIME_LIMIT,
) -> list[Removal]:
    """Delete images of families that are past the date of deletion of their deprecation.

    Args:
        project: Project of the images.
        image_families: Families whose images are looked at.
        keep_last: How many of a family's newest images are kept whatever their date. The one that the family gives
            is kept in any case.
        include_others: Delete images that cos-customizer has not made, too.
        disk_projects: Projects whose disks, instance templates and images are asked for the images they are made from;
            those are kept. By default the project of the images.
        dry_run: Delete nothing: only make the table.
        timeout: Time limit of the run as a Go duration. What is not deleted by then stays, and fails the run.

    Returns:
        Every image of the families, and what became of it.

    Raises:
        CustomizerError: one could not be deleted, or not in time; the others were.
    """
    retention = Retention(project, image_families, keep_last, include_others, disk_projects)
    now = time.time()
    with listening(announce), in_time(timeout), in_order():
        with deadline.before_changes():
            decided = families.plan_expiry(retention, now)
        removals = [removal for _, removal in decided]
        if not dry_run:
            removals = families.delete_expired_images(retention, decided, now)
    which = ", ".join(image_families) if len(image_families) <= _NAMED else f"{len(image_families)} families"
    what = f"Images of {which} in {project}{' (dry run)' if dry_run else ''}"
    report_removals(removals, "expire-images", "family", what)
    raise_failures(removals)
    return removals
