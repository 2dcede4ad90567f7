"""`sweep`: delete what builds have left behind."""

import time
from datetime import datetime

from cos_customizer.cli.checks import checked
from cos_customizer.cli.command import FAMILIES, command
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import ListFlag, SwitchFlag
from cos_customizer.cli.removals import show_removals
from cos_customizer.cli.time_limit import timeout_flag, within
from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families.removal import TIME_LIMIT, raise_failures

FLAGS = (
    Flag(
        "project",
        "Project whose VMs and disks are looked at, in all zones.",
        value="PROJECT",
        example="-project=my-project",
        needed=True,
    ),
    ListFlag(
        "image-project",
        "Projects whose images in the state unreleased are looked at. By default that of -project.",
        value="PROJECT,…",
        example="-image-project=my-images",
    ),
    ListFlag(
        "gcs-bucket",
        "Buckets whose objects are looked at. By default PROJECT_cloudbuild, if there is such a bucket.",
        value="BUCKET,…",
        example="-gcs-bucket=my-bucket",
        field="gcs_buckets",
    ),
    Flag(
        "as-of",
        "Compare expiries with this time, as RFC 3339, instead of now. A time that has not come yet is for dry runs "
        "only.",
        value="TIME",
        example="-as-of=2026-12-01T00:00:00Z",
    ),
    SwitchFlag(
        "dry-run",
        "Delete nothing: only print the table. -dry-run=false deletes.",
        default=True,
    ),
    timeout_flag(TIME_LIMIT),
)


@command("sweep", FLAGS, section=FAMILIES, rank=4)
def sweep(
    project: str, image_project: list[str], gcs_bucket: list[str], as_of: str | None, dry_run: bool, timeout: str
) -> int:
    """Delete what builds have left behind.

    That is a killed build's VMs, disks and objects, and images that were never released. Only what bears the label
    cos-customizer-build, has the name that this build gives, and is past the time in its label cos-customizer-expires
    is deleted; of images only those that cos-customizer has made, in the state unreleased and in no family, which
    nothing refers to. What belongs to a running build has not expired.
    """
    from cos_customizer.customizer import names

    checked("project", [project], names.check_project)
    images = checked("image-project", image_project, names.check_project)
    buckets = checked("gcs-bucket", gcs_bucket, names.check_bucket)
    now = _as_of(as_of, dry_run) if as_of else time.time()
    limit = within(timeout, TIME_LIMIT)
    from cos_customizer.gcp import sweep as sweeping
    from cos_customizer.gcp.clients import connect

    with limit:
        with deadline.before_changes():
            clients = connect()
            decided = sweeping.plan(clients, sweeping.SweepScope(project, images, buckets), now)
        removals = [removal for _, removal in decided]
        if not dry_run:
            removals = sweeping.apply(clients, project, decided, now)
    show_removals(removals, "where", dry_run)
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
