"""Keeping image families fresh and clean, as tasks: planning rebuilds, expiring images, sweeping up after builds."""

from collections.abc import Collection, Mapping, Sequence

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.image_expiry import Retention
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.spec.model import BuildSpec, SourceImage
from cos_customizer.gcp import failure_counts, image_expiry, rebuild_facts, sources, sweep
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.failure_counts import FailureCount
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.gcp.rebuild_facts import ProjectImages
from cos_customizer.tasks.operation import operation


@operation("find the source images of recipes")
def find_sources(sources: Collection[SourceImage]) -> dict[SourceImage, ResolvedImage | CustomizerError]:
    """Find source images; see `gcp.rebuild_facts.find_sources`."""
    return rebuild_facts.find_sources(clients(), sources)


@operation("list the images of recipes' projects")
def list_output_images(projects: Collection[str]) -> dict[str, ProjectImages | CustomizerError]:
    """List the images of projects; see `gcp.rebuild_facts.list_output_images`."""
    return rebuild_facts.list_output_images(clients(), projects)


@operation("archive the build contexts of recipes")
def digest_contexts(builds: Mapping[str, BuildSpec]) -> dict[str, str | CustomizerError]:
    """Archive build contexts; see `gcp.rebuild_facts.digest_contexts`."""
    return rebuild_facts.digest_contexts(clients(), builds)


@operation("read how often recipes have failed")
def read_failures(buckets: Collection[str]) -> dict[str, dict[str, FailureCount] | CustomizerError]:
    """Read the counts of failures; see `gcp.failure_counts.read`."""
    return failure_counts.read(clients(), buckets)


@operation("count the failure of {spec.output.family}")
def write_failure(spec: BuildSpec, count: FailureCount, why: str) -> None:
    """Keep a count of failures; see `gcp.failure_counts.write`."""
    failure_counts.write(clients(), spec, count, why)


@operation("forget the failures of {spec.output.family}")
def clear_failures(spec: BuildSpec) -> None:
    """Forget the failures of a recipe; see `gcp.failure_counts.clear`."""
    failure_counts.clear(clients(), spec)


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
