"""The build context on its way to the builder VM, as tasks."""

from dataclasses import dataclass
from pathlib import Path

from cos_customizer.customizer.context import archive_context
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.gpu_drivers import check_in_context
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.spec import BuildContext
from cos_customizer.customizer.spec_steps import RunScript, Step
from cos_customizer.customizer.steps import near_names
from cos_customizer.gcp import scratch
from cos_customizer.tasks.operation import clients, operation


@dataclass(frozen=True)
class Archive:
    """The build context as one file.

    Attributes:
        path: the gzipped tar file.
        sha256: digest of its uncompressed tar stream.
    """

    path: Path
    sha256: str


@operation("archive build context")
def archive(context: BuildContext, steps: list[Step], directory: Path) -> Archive:
    """Make sure that the build context is one archive.

    Args:
        context: a directory or file, or an archive with its digest.
        steps: whose scripts and other files must be in the context.
        directory: for the archive, if one is made.

    Raises:
        UsageError: the context cannot be archived, a step's file is missing from it, or it has another digest than
            given.
    """
    source = Path(context.path)
    if context.sha256 and source.name.endswith(".tar.gz"):
        return Archive(source, context.sha256)
    made = archive_context(source, directory / "context.tar.gz")
    for step in steps:
        if not isinstance(step, RunScript):
            if step.deps_dir is not None:
                check_in_context(step.version, step.deps_dir, made.scripts)
        elif step.script not in made.scripts:
            near = near_names(step.script, made.scripts)
            raise UsageError(
                f"could not find script {step.script} in build context {context.path}",
                f"did you mean {', '.join(near)}?" if near else "paths are relative to the build context's root.",
            )
    if context.sha256 and context.sha256 != made.sha256:
        raise UsageError(
            f"build context {context.path} has digest {made.sha256}, not {context.sha256}",
            "it has changed since the specification was written.",
        )
    return Archive(directory / "context.tar.gz", made.sha256)


@operation("upload build context")
def upload_context(found: Archive, bucket: str, name: str, build: BuildNames, expires: float) -> None:
    """Store the build context in Cloud Storage, where the builder VM fetches it."""
    scratch.upload(clients(), bucket, name, found.path, build.labels(expires), expires)
