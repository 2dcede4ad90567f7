"""`rebuild-images`: build the images of recipes anew, those in which something has changed."""

import gc
import time
from typing import TYPE_CHECKING

import click

from cos_customizer.cli.command import FAMILIES, command
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import ListFlag, SwitchFlag
from cos_customizer.cli.tables import table
from cos_customizer.cli.time_limit import timeout_flag, within
from cos_customizer.flows.interrupts import ignore_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cos_customizer.customizer.families.rebuild import Rebuild

FLAGS = (
    ListFlag(
        "recipe",
        "Files of recipes, or patterns such as recipes/*.yaml. Required.",
        value="FILE,…",
        names_file=True,
        example="-recipe='recipes/*.yaml'",
    ),
    SwitchFlag("force", "Build all of them, changed or not."),
    Flag(
        "deployment",
        "Let each build be a run of this deployment on the configured Prefect server, all at once, spread over its "
        "workers. By default they are built here, one after another.",
        value="FLOW/NAME",
        example="-deployment=build-image/build-image",
    ),
    SwitchFlag("dry-run", "Build nothing: only print what would become of each recipe, and why."),
    timeout_flag(
        None,
        "A build that is at work then is undone, those that have not begun are left, and the exit code is 1. By "
        "default what the builds may take by their own time limits, one after another, and two hours.",
    ),
)


@command("rebuild-images", FLAGS, section=FAMILIES, rank=1)
def rebuild_images(recipe: list[str], force: bool, deployment: str | None, dry_run: bool, timeout: str | None) -> int:
    """Build the images of recipes anew, those in which something has changed.

    Each recipe names its output family. An image is built if its source image, recipe or build context differ from
    those that the family's newest released image was made from. The new image's name is the recipe's with the date
    appended. A recipe that fails, fails alone; the exit code is then 1.
    """
    from cos_customizer.gcp.rebuild import plan_all, recipe_files

    files = recipe_files(recipe)
    limit = within(timeout, None)
    if dry_run:
        from cos_customizer.gcp.rebuild import row_of
        from cos_customizer.tasks.families import plan_rebuild

        with limit:
            planned = plan_all(files, force, plan_rebuild, lambda _row: None)
        return _show([row_of(file, found) for file, found in planned.items()])
    with limit:
        done = _rebuild(files, force, deployment or "", timeout or None)
    return _show(done)


def _rebuild(files: "Sequence[str]", force: bool, deployment: str, timeout: str | None) -> "Sequence[Rebuild]":
    from cos_customizer.cli.prefect_api import prefect_at_hand
    from cos_customizer.cli.progress import show_progress
    from cos_customizer.customizer.families.rebuild import RebuildFailedError

    started = time.monotonic()
    try:
        with show_progress(started), prefect_at_hand(_load_flow) as flow:
            try:
                return flow(list(files), force=force, deployment=deployment, timeout=timeout)
            except RebuildFailedError as error:
                return error.rows
    finally:
        ignore_signals()
        gc.freeze()  # see run_build


def _load_flow() -> "Callable[..., Sequence[Rebuild]]":
    from cos_customizer.flows.rebuild_images import rebuild_images

    return rebuild_images


def _show(rows: "Sequence[Rebuild]") -> int:
    """Print the table; raises an error if a recipe has failed."""
    from cos_customizer.customizer.families.rebuild import raise_failures

    names = ("outcome", "recipe", "family", "image", "why")
    click.echo(table(names, [[str(getattr(row, name)) for name in names] for row in rows]))
    raise_failures(rows)
    return 0
