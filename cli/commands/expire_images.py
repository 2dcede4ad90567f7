"""`expire-images`: delete a family's images past the date of deletion of their deprecation."""

import time

import click

from cos_customizer.cli.announced import announced
from cos_customizer.cli.checks import checked
from cos_customizer.cli.command import FAMILIES, command
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import IntegerFlag, ListFlag, SwitchFlag
from cos_customizer.cli.removals import show_removals
from cos_customizer.cli.time_limit import timeout_flag, within
from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families.image_expiry import DEFAULT_KEEP_LAST, Retention
from cos_customizer.customizer.families.removal import TIME_LIMIT, raise_failures

FLAGS = (
    Flag("project", "Project of the images.", value="PROJECT", example="-project=my-project", needed=True),
    ListFlag(
        "image-family",
        "Families whose images are looked at.",
        needed=True,
        value="FAMILY,…",
        example="-image-family=my-family,my-other-family",
    ),
    IntegerFlag(
        "keep-last",
        "How many of a family's newest images are kept whatever their date, counted over those that are ready and "
        "released. The family's current image is kept in any case.",
        field="keep_last",
        value="N",
        default=DEFAULT_KEEP_LAST,
        example="-keep-last=5",
    ),
    SwitchFlag("include-others", "Delete images that cos-customizer has not made, too."),
    ListFlag(
        "disk-project",
        "Projects whose disks, in all zones, instance templates and images are asked for what they are made from; that "
        "is kept. By default that of -project.",
        value="PROJECT,…",
        example="-disk-project=my-project,my-fleet",
    ),
    SwitchFlag(
        "dry-run",
        "Delete nothing: only print the table. -dry-run=false deletes.",
        default=True,
    ),
    timeout_flag(TIME_LIMIT),
)


@command("expire-images", FLAGS, section=FAMILIES, rank=2)
def expire_images(
    project: str,
    image_family: list[str],
    keep_last: int,
    include_others: bool,
    disk_project: list[str],
    dry_run: bool,
    timeout: str,
) -> int:
    """Delete a family's images that are past the date of deletion of their deprecation.

    Compute Engine never acts on that date, which -old-image-ttl of finish-image-build sets. These are kept whatever
    their date: the family's current image, the newest ones, what a disk, image or instance template is made from, what
    cos-customizer has not made, and what was never released.
    """
    from cos_customizer.customizer import names

    checked("project", [project], names.check_project)
    families = checked("image-family", image_family, names.check_resource_name)
    disk_projects = checked("disk-project", disk_project, names.check_project)
    if keep_last < 0:
        raise UsageError(f"-keep-last: {keep_last} is less than 0")
    limit = within(timeout, TIME_LIMIT)
    from cos_customizer.gcp import image_expiry
    from cos_customizer.gcp.clients import connect

    retention = Retention(project, families, keep_last, include_others, disk_projects)
    now = time.time()
    with limit, announced():
        with deadline.before_changes():
            clients = connect()
            decided = image_expiry.plan(clients, retention, now)
        removals = [removal for _, removal in decided]
        if not dry_run:
            removals = image_expiry.apply(clients, retention, decided, now)
    show_removals(removals, "family", dry_run)
    for family in families:
        if not any(removal.where == family for removal in removals):
            click.echo(f"no image of {project} is in family {family}")
    raise_failures(removals)
    return 0
