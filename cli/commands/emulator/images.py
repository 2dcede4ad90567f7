"""`emulator images`: list the images that there are."""

import click

from cos_customizer.cli.checks import checked
from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._found import PROJECTS, in_projects, moment
from cos_customizer.cli.commands.emulator._running import USED_STATE_DIR, LocalCloud, report
from cos_customizer.customizer.names import COS_PROJECT


@command("images", [PROJECTS, USED_STATE_DIR], rank=7)
def images(project: list[str], state_dir: str | None) -> None:
    """List the images that there are.

    Of each its project, name, family and state (ready, pending, deprecated, unreleased, …), the size of a disk made
    from it and what it takes itself, when it was made, and of what by which build. Those of cos-cloud, which builds
    start from, are listed where -project names it.
    """
    from cos_customizer.cli.tables import table
    from cos_customizer.customizer import names

    chosen = checked("project", project, names.check_project)
    cloud = LocalCloud.of(state_dir)
    from cos_customizer.gcp import inventory

    found = inventory.images(cloud.clients, chosen or [each for each in cloud.projects() if each != COS_PROJECT])
    if not found:
        report(f"no images{in_projects(chosen)}; -project={COS_PROJECT} lists those to start from")
        return
    headings = ("project", "name", "family", "state", "disk", "size", "created", "from")
    rows = [
        (
            image.ref.project,
            image.ref.name,
            image.family,
            image.state,
            f"{image.disk_gb} GB",
            f"{image.stored_bytes / (1 << 20):.0f} MB",
            moment(image.created),
            image.origin,
        )
        for image in found
    ]
    click.echo(table(headings, rows))
