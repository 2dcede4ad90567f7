"""Planning a rebuild, as a task."""

from collections.abc import Collection
from datetime import date
from pathlib import Path

from cos_customizer.customizer.spec import BuildSpec
from cos_customizer.gcp import rebuild
from cos_customizer.gcp.rebuild import RebuildPlan
from cos_customizer.tasks.operation import clients, operation


@operation("plan {recipe}")
def plan_rebuild(
    recipe: str,  # noqa: ARG001 # names the task run
    spec: BuildSpec,
    directory: Path,
    force: bool,
    day: date,
    reserved: Collection[str],
) -> RebuildPlan:
    """Find out whether a recipe's image is to be made anew; see `gcp.rebuild.plan_rebuild`."""
    return rebuild.plan_rebuild(clients(), spec, directory, force, day, reserved)
