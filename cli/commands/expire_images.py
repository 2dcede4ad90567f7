"""`expire-images`: delete a family's images past the date of deletion of their deprecation."""

import time
from typing import Any

import click

from cos_customizer.cli.checks import checked, required
from cos_customizer.cli.go_flags import Flag, GoCommand
from cos_customizer.cli.removals import show_removals
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families.image_expiry import DEFAULT_KEEP_LAST, Retention
from cos_customizer.customizer.families.removal import raise_failures

FLAGS = (
    Flag("project", "Project of the images. Required.", value="PROJECT", example="-project=my-project"),
    Flag(
        "image-family",
        "Families whose images are looked at. Required. May be repeated.",
        kind="list",
        value="FAMILY,…",
        example="-image-family=my-family,my-other-family",
    ),
    Flag(
        "keep-last",
        "How many of a family's newest images are kept whatever their date, counted over those that are ready and "
        "released. The one that the family gives is kept in any case.",
        kind="int",
        value="N",
        default=DEFAULT_KEEP_LAST,
        example="-keep-last=5",
    ),
    Flag("include-others", "Delete images that cos-customizer has not made, too.", kind="bool"),
    Flag(
        "disk-project",
        "Projects whose disks, in all zones, and instance templates are asked for the images they are made from; those "
        "images are kept. "
        "By default that of -project. May be repeated.",
        kind="list",
        value="PROJECT,…",
        example="-disk-project=my-project,my-fleet",
    ),
    Flag(
        "dry-run",
        "Delete nothing: only print the table. -dry-run=false deletes.",
        kind="bool",
        default=True,
    ),
)


@click.command(
    "expire-images",
    cls=GoCommand,
    params=list(FLAGS),
    short_help="Delete a family's images that are past the date of deletion of their deprecation.",
)
def expire_images(**values: Any) -> int:
    """Delete a family's images that are past the date of deletion of their deprecation.

    Compute Engine never acts on that date, which -old-image-ttl of finish-image-build sets. Kept are, whatever their
    date: the image that the family gives, the newest ones, what a disk or instance template is made from, what
    cos-customizer has not made, and what was never released.
    """
    from cos_customizer.customizer import names

    required(values, "expire-images", "project", "image-family")
    (project,) = checked("project", [values["project"]], names.check_project)
    families = checked("image-family", values["image_family"], names.check_resource_name)
    disk_projects = checked("disk-project", values["disk_project"], names.check_project)
    if values["keep_last"] < 0:
        raise UsageError(f"-keep-last: {values['keep_last']} is less than 0")
    from cos_customizer.gcp import image_expiry
    from cos_customizer.gcp.clients import connect

    clients = connect()
    retention = Retention(project, families, values["keep_last"], values["include_others"], disk_projects)
    decided = image_expiry.plan(clients, retention, time.time())
    removals = [removal for _, removal in decided]
    if not values["dry_run"]:
        removals = image_expiry.apply(clients, project, decided)
    show_removals(removals, "family", values["dry_run"])
    for family in families:
        if not any(removal.where == family for removal in removals):
            click.echo(f"no image of {project} is in family {family}")
    raise_failures(removals)
    return 0
