"""What a build keeps in Cloud Storage, as tasks: its context on the way to the builder VM."""

from collections.abc import Collection
from pathlib import Path

from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.spec.model import BuildContext
from cos_customizer.customizer.spec.steps.kinds import Step
from cos_customizer.customizer.spec.uefi_keys import KeyFile
from cos_customizer.gcp import scratch
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.context import Archive, prepare_archive
from cos_customizer.tasks.operation import operation


@operation("archive build context")
def archive_context(
    context: BuildContext, steps: list[Step], directory: Path, keys: Collection[KeyFile] = ()
) -> Archive:
    """Make sure that the build context is one archive; see `gcp.context.prepare_archive`."""
    return prepare_archive(clients(), context, steps, directory, keys)


@operation("look for bucket {bucket}")
def check_bucket(bucket: str) -> None:
    """Find out whether the bucket is there; see `gcp.scratch.check_bucket`."""
    scratch.check_bucket(clients(), bucket)


@operation("upload build context")
def upload_context(archive: Archive, target: ObjectRef, build: BuildNames, expires: float) -> None:
    """Store the build context in Cloud Storage, where the builder VM fetches it; see `gcp.scratch.upload`."""
    scratch.upload(clients(), target, archive.path, build.labels(expires), expires)


@operation("delete build context", always=True)
def delete_context(target: ObjectRef) -> list[Removal]:
    """Delete the build context from Cloud Storage; see `gcp.scratch.delete`."""
    return scratch.delete(clients(), target)
