"""Keeping image families fresh and clean, as tasks: planning rebuilds, expiring images, sweeping up after builds."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path

from cos_customizer.customizer.families.image_expiry import Retention
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.gcp import image_expiry, rebuild, sources, sweep
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.rebuild import RebuildPlan
from cos_customizer.tasks.operation import operation


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


@operation("plan the expiry of images")
def plan_expiry(retention: Retention, now: float) -> list[image_expiry.Decision]:
    """Decide on every image of the families; see `gcp.image_expiry.plan`."""
    return image_expiry.plan(clients(), retention, now)


@operation("delete expired images")
def delete_expired_images(retention: Retention, decided: list[image_expiry.Decision], now: float) -> list[Removal]:
    """Delete what is to be deleted; see `gcp.image_expiry.apply`."""
    return image_expiry.apply(clients(), retention, decided, now)


@operation("plan the sweep")
def plan_sweep(scope: sweep.SweepScope, now: float) -> list[sweep.Decision]:
    """Decide on everything that bears our label; see `gcp.sweep.plan`."""
    return sweep.plan(clients(), scope, now)


@operation("sweep")
def delete_leftovers(project: str, decided: list[sweep.Decision], now: float) -> list[Removal]:
    """Delete what is to be deleted; see `gcp.sweep.apply`."""
    return sweep.apply(clients(), project, decided, now)


@operation("look at the sources of recipes")
def look_at_sources(files: Sequence[str], before: Mapping[str, str]) -> sources.Looks:
    """Look for new source images; see `gcp.sources.look_at_sources`."""
    return sources.look_at_sources(clients(), files, before)
