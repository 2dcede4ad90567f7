"""`rollback`: make the image before the current one the one that a family gives."""

import time
from typing import Any

import click

from cos_customizer.cli.checks import checked, required
from cos_customizer.cli.go_flags import Flag, GoCommand

FLAGS = (
    Flag("project", "Project of the images. Required.", value="PROJECT", example="-project=my-project"),
    Flag("image-family", "Family to roll back. Required.", value="FAMILY", example="-image-family=my-family"),
    Flag(
        "to",
        "Name of the image that the family is to give, older or newer than the current one. By default the newest one "
        "that is older, ready, released, and neither obsolete nor deleted.",
        value="IMAGE",
        example="-to=my-image-20261101",
    ),
    Flag("dry-run", "Change nothing: only print what would be.", kind="bool"),
)


@click.command(
    "rollback",
    cls=GoCommand,
    params=list(FLAGS),
    short_help="Make the image before the current one the one that a family gives.",
)
def rollback(**values: Any) -> int:
    """Make the image before the current one the one that a family gives.

    Its deprecation is cleared, with all dates; then the current image is deprecated and names it as its replacement.
    The family gives an image all the time. A second rollback goes one image further back; -to goes to any image of the
    family, also forward again: all active images that are newer are deprecated, and so is the current one.
    """
    from cos_customizer.customizer import names

    required(values, "rollback", "project", "image-family")
    (project,) = checked("project", [values["project"]], names.check_project)
    (family,) = checked("image-family", [values["image_family"]], names.check_resource_name)
    to = checked("to", [values["to"]], names.check_resource_name)[0] if values["to"] else ""
    from cos_customizer.gcp import rollback as changes
    from cos_customizer.gcp.clients import connect

    clients = connect()
    plan = changes.plan(clients, project, family, time.time(), to)
    if values["dry_run"]:
        if plan.undeprecate:
            click.echo(f"{'undeprecate':<14}{plan.target.name}")
        for image in plan.deprecate:
            click.echo(f"{'deprecate':<14}{image.name}")
    else:
        changes.apply(clients, project, family, plan, lambda what, image: click.echo(f"{what:<14}{image.name}"))
    changed = plan.undeprecate or plan.deprecate
    word = "already gives" if not changed else "would give" if values["dry_run"] else "gives"
    click.echo(f"family {family} {word} {plan.target.name}")
    return 0
