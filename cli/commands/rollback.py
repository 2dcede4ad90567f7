"""`rollback`: roll a family back to its previous image."""

import time

import click

from cos_customizer.cli.announced import announced
from cos_customizer.cli.checks import checked
from cos_customizer.cli.command import FAMILIES, command
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import SecondsFlag, SwitchFlag
from cos_customizer.cli.time_limit import timeout_flag, within
from cos_customizer.customizer import deadline
from cos_customizer.customizer.families.rollback import TIME_LIMIT

FLAGS = (
    Flag("project", "Project of the images.", value="PROJECT", example="-project=my-project", needed=True),
    Flag(
        "image-family",
        "Family to roll back.",
        value="FAMILY",
        example="-image-family=my-family",
        field="image_family",
        needed=True,
    ),
    Flag(
        "to",
        "Name of the image that is to become the family's current one; it may be older or newer than that of now. By "
        "default the newest one that is older, ready, released, and neither obsolete nor deleted.",
        value="IMAGE",
        example="-to=my-image-20261101",
        field="to",
    ),
    SecondsFlag(
        "delete-in",
        "Let the images that are deprecated now count as deleted after this time, in seconds or as a duration: "
        "expire-images deletes them then. By default they have no such date, and stay.",
        value="DURATION",
        example="-delete-in=30d",
        field="delete_in",
    ),
    SwitchFlag("dry-run", "Change nothing: only print what would be."),
    timeout_flag(TIME_LIMIT),
)


@command("rollback", FLAGS, section=FAMILIES, rank=3)
def rollback(
    project: str, image_family: str, to: str | None, delete_in: int | None, dry_run: bool, timeout: str
) -> int:
    """Roll a family back to its previous image.

    The deprecation of the previous image is cleared, with all dates; then the current image is deprecated and names it
    as its replacement. The family has a current image all the time. A second rollback goes one image further back; -to
    goes to any image of the family, also forward again: all active images that are newer are deprecated, and so is the
    current one.
    """
    from cos_customizer.customizer import names

    checked("project", [project], names.check_project)
    (family,) = checked("image-family", [image_family], names.check_resource_name)
    to = checked("to", [to], names.check_resource_name)[0] if to else ""
    limit = within(timeout, TIME_LIMIT)
    from cos_customizer.gcp import rollback as changes
    from cos_customizer.gcp.clients import connect

    with limit, announced():
        with deadline.before_changes():
            clients = connect()
            plan = changes.plan(clients, project, family, time.time(), to)
        if not dry_run:
            deleted = time.time() + delete_in if delete_in else None
            changes.apply(
                clients, project, family, plan, lambda what, image: click.echo(f"{what:<14}{image.name}"), deleted
            )
    if dry_run:
        if plan.undeprecate:
            click.echo(f"{'undeprecate':<14}{plan.target.name}")
        for image in plan.deprecate:
            click.echo(f"{'deprecate':<14}{image.name}")
    changed = plan.undeprecate or plan.deprecate
    word = "already gives" if not changed else "would give" if dry_run else "gives"
    click.echo(f"family {family} {word} {plan.target.name}")
    return 0
