"""The build context on its way to the builder VM, as tasks."""

from pathlib import Path

from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.spec.model import BuildContext
from cos_customizer.customizer.spec.steps.kinds import Step
from cos_customizer.gcp import scratch
from cos_customizer.gcp.context import Archive, prepare_archive
from cos_customizer.tasks.operation import clients, operation


@operation("archive build context")
def archive(context: BuildContext, steps: list[Step], directory: Path) -> Archive:
    """Make sure that the build context is one archive; arguments and errors as `prepare_archive`."""
    return prepare_archive(clients(), context, steps, directory)


@operation("upload build context")
def upload_context(found: Archive, bucket: str, name: str, build: BuildNames, expires: float) -> None:
    """Store the build context in Cloud Storage, where the builder VM fetches it."""
    scratch.upload(clients(), bucket, name, found.path, build.labels(expires), expires)
