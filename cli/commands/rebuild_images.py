"""`rebuild-images`: build the images of recipes anew, those in which something has changed."""

import gc
import time
from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.command import FAMILIES, command
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import RECIPES_FLAG, IntegerFlag, SwitchFlag
from cos_customizer.cli.tables import table
from cos_customizer.cli.time_limit import timeout_flag, within
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families.build_queue import DEFAULT_IN_FLIGHT
from cos_customizer.flows.interrupts import ignore_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cos_customizer.customizer.families.rebuild import Rebuild

FLAGS = (
    RECIPES_FLAG,
    SwitchFlag("force", "Build all of them, changed or not, and those that -after-failures would leave alone."),
    Flag(
        "deployment",
        "Let each build be a run of this deployment on the configured Prefect server, spread over its workers. By "
        "default they are built here, one after another.",
        value="FLOW/NAME",
        example="-deployment=build-image/build-image",
    ),
    IntegerFlag(
        "max-in-flight",
        "Runs of -deployment that there are at a time, waiting or at work; the next begins when one ends. By default "
        f"{DEFAULT_IN_FLIGHT}.",
        value="N",
        example="-deployment=build-image/build-image -max-in-flight=100",
    ),
    IntegerFlag(
        "after-failures",
        "Failures in a row after which a recipe is left alone until it changes, or its source image does; -force tries "
        "it all the same. They are counted in the recipe's scratch bucket. By default each recipe is tried every time.",
        value="N",
        example="-after-failures=3",
    ),
    SwitchFlag("dry-run", "Build nothing: only print what would become of each recipe, and why."),
    timeout_flag(
        None,
        "A build that is at work then is undone, those that have not begun are left, and the exit code is 1. By "
        "default what the builds may take by their own time limits, one after another, and two hours.",
    ),
)


@command("rebuild-images", FLAGS, section=FAMILIES, rank=1)
def rebuild_images(
    recipe: list[str],
    force: bool,
    deployment: str | None,
    max_in_flight: int | None,
    after_failures: int | None,
    dry_run: bool,
    timeout: str | None,
) -> int:
    """Build the images of recipes anew, those in which something has changed.

    Each recipe names its output family. An image is built if its source image, recipe or build context differ from
    those that the family's newest released image was made from. The new image's name is the recipe's with the date
    appended. A recipe that fails, fails alone; the exit code is then 1.
    """
    _check(deployment, max_in_flight, after_failures)
    from cos_customizer.flows.rebuild_planning import decide, recipe_files

    files = recipe_files(recipe)
    limit = within(timeout, None)
    if dry_run:
        from cos_customizer.flows.failures_in_a_row import FailuresInARow

        with limit:
            _, rows = decide(files, force, FailuresInARow(after_failures))
        return _show(list(rows.values()))
    with limit:
        given = {"deployment": deployment or "", "timeout": timeout or None, "after_failures": after_failures}
        if max_in_flight is not None:
            given["max_in_flight"] = max_in_flight
        done = _rebuild(files, {"force": force, **given})
    return _show(done)


def _check(deployment: str | None, max_in_flight: int | None, after_failures: int | None) -> None:
    for flag, value in (("max-in-flight", max_in_flight), ("after-failures", after_failures)):
        if value is not None and value < 1:
            raise UsageError(f"-{flag}: {value} is too few", "1 is the least.")
    if max_in_flight is not None and not deployment:
        raise UsageError(
            "-max-in-flight: without -deployment images are built here, one after another",
            "-deployment=build-image/build-image names one.",
        )


def _rebuild(files: "Sequence[str]", parameters: "dict[str, Any]") -> "Sequence[Rebuild]":
    from cos_customizer.cli.prefect_api import prefect_at_hand
    from cos_customizer.cli.progress import show_progress
    from cos_customizer.customizer.families.rebuild import RebuildFailedError

    started = time.monotonic()
    try:
        with show_progress(started), prefect_at_hand(_load_flow) as flow:
            try:
                return flow(list(files), **parameters)
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
    from cos_customizer.customizer.families.rebuild import folded, raise_failures

    names = ("outcome", "recipe", "family", "image", "why")
    click.echo(table(names, [[str(getattr(row, name)) for name in names] for row in folded(rows)]))
    raise_failures(rows)
    return 0
