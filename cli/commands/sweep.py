"""`sweep`: delete what builds have left behind."""

import time
from datetime import datetime
from typing import Any

import click

from cos_customizer.cli.checks import checked, required
from cos_customizer.cli.go_flags import Flag, GoCommand
from cos_customizer.cli.removals import show_removals
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families.removal import raise_failures

FLAGS = (
    Flag(
        "project",
        "Project whose VMs and disks are looked at, in all zones. Required.",
        value="PROJECT",
        example="-project=my-project",
    ),
    Flag(
        "image-project",
        "Projects whose images in the state unreleased are looked at. By default that of -project. May be repeated.",
        kind="list",
        value="PROJECT,…",
        example="-image-project=my-images",
    ),
    Flag(
        "gcs-bucket",
        "Buckets whose objects are looked at. By default PROJECT_cloudbuild, if there is such a bucket. May be "
        "repeated.",
        kind="list",
        value="BUCKET,…",
        example="-gcs-bucket=my-bucket",
    ),
    Flag(
        "as-of",
        "Compare expiries with this time, as RFC 3339, instead of now. A time that has not come yet is for dry runs "
        "only.",
        value="TIME",
        example="-as-of=2026-12-01T00:00:00Z",
    ),
    Flag(
        "dry-run",
        "Delete nothing: only print the table. -dry-run=false deletes.",
        kind="bool",
        default=True,
    ),
)


@click.command("sweep", cls=GoCommand, params=list(FLAGS), short_help="Delete what builds have left behind.")
def sweep(**values: Any) -> int:
    """Delete what builds have left behind: a killed build's VMs, disks and objects, and images never released.

    Only what bears the label cos-customizer-build and is past the time in its label cos-customizer-expires is deleted;
    of images only those in the state unreleased and in no family. What belongs to a build that runs is not past it.
    """
    from cos_customizer.customizer import names

    required(values, "sweep", "project")
    (project,) = checked("project", [values["project"]], names.check_project)
    images = checked("image-project", values["image_project"], names.check_project)
    buckets = checked("gcs-bucket", values["gcs_bucket"], names.check_bucket)
    now = _as_of(values["as_of"], values["dry_run"]) if values["as_of"] else time.time()
    from cos_customizer.gcp import sweep as sweeping
    from cos_customizer.gcp.clients import connect

    clients = connect()
    decided = sweeping.plan(clients, sweeping.SweepScope(project, images, buckets), now)
    removals = [removal for _, removal in decided]
    if not values["dry_run"]:
        removals = sweeping.apply(clients, project, decided, now)
    show_removals(removals, "where", values["dry_run"])
    raise_failures(removals)
    return 0


def _as_of(text: str, dry_run: bool) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise UsageError(f"-as-of: {text!r} is not a time", "write it as 2026-12-01T00:00:00Z.")
    if when.timestamp() > time.time() and not dry_run:
        raise UsageError(
            "-as-of: that time has not come yet", "with -dry-run, the table shows what would be deleted then."
        )
    return when.timestamp()
