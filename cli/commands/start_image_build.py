"""`start-image-build`: archive the build context, find the source image, and begin the local state."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cos_customizer.cli.command import BUILD_STEPS, command
from cos_customizer.cli.flag import Flag, spec_fields
from cos_customizer.cli.flag_kinds import ChoiceFlag, IntegerFlag, PathFlag, SwitchFlag
from cos_customizer.cli.state import StateDirectory
from cos_customizer.cli.workdir import WORKDIR_FLAG, workdir_of
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import Message, joined
from cos_customizer.customizer.spec.options import OPTIONS

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.base import Model
    from cos_customizer.customizer.spec.model import SourceImage

Part = TypeVar("Part", bound="Model")

_MADE_LATER = "_cloudbuild"
"""End of the name of a project's bucket that Cloud Build makes with its first build: finish-image-build looks."""

FLAGS = (
    Flag("image-project", OPTIONS["source.project"], value="PROJECT", example="-image-project=cos-cloud"),
    Flag("image-name", OPTIONS["source.name"], value="NAME", example="-image-name=cos-stable-68-10718-86-0"),
    IntegerFlag("image-milestone", OPTIONS["source.milestone"], value="NUMBER", example="-image-milestone=125"),
    Flag("image-family", OPTIONS["source.family"], value="FAMILY", example="-image-family=cos-stable"),
    ChoiceFlag(
        "image-architecture",
        OPTIONS["source.architecture"],
        also="It is x86_64 or arm64.",
        value="ARCHITECTURE",
        choices=("x86_64", "arm64"),
        example="-image-architecture=arm64",
    ),
    PathFlag(
        "build-context",
        "Directory or file, relative to the working directory, whose contents are copied to the builder VM; scripts "
        "run in it.",
        value="PATH",
        default=OPTIONS["context.path"].default,
        example="-build-context=image-files",
        field="context.path",
    ),
    Flag("gcs-bucket", OPTIONS["scratch.bucket"], value="BUCKET", example="-gcs-bucket=my-project_cloudbuild"),
    Flag("gcs-workdir", OPTIONS["scratch.workdir"], value="DIRECTORY", example="-gcs-workdir=image-build-42"),
    SwitchFlag("force", "Start over where an image build has been started already: its local state is replaced."),
    WORKDIR_FLAG,
)


@command("start-image-build", FLAGS, section=BUILD_STEPS, rank=1)
@click.pass_context
def start_image_build(ctx: click.Context, /, **values: Any) -> int:
    """Begin an image build: choose the source image and the build context.

    Finds the source image, archives the build context, and writes both down in the local state for the steps that
    follow. No cloud resource is created. It comes before all other steps, once for each image build.
    """
    state = StateDirectory.named(workdir_of(ctx, values["local_state_workdir"]))
    spec = spec_fields(FLAGS, values)
    source = _check(spec)
    context = Path(values["build_context"] or ".")
    if context.resolve() == state.path.resolve():
        raise UsageError(
            f"-build-context: {str(context)!r} is the directory of the local state",
            "choose another -build-context or -local-state-workdir.",
        )
    with state.new(force=values["force"]) as draft:
        from cos_customizer.customizer.context import archive_context

        archive = archive_context(context, draft.archive, exclude=state.path)

        from cos_customizer.gcp.clients import connect
        from cos_customizer.gcp.images import resolve_source

        clients = connect()
        image = resolve_source(clients, source)
        bucket = spec["scratch"]["bucket"]
        if not bucket.endswith(_MADE_LATER):
            from cos_customizer.gcp.scratch import check_bucket

            check_bucket(clients, bucket)
        spec["source"] = {"project": image.project, "name": image.name, "architecture": image.architecture}
        spec["context"] = {"sha256": archive.sha256}
        draft.commit(spec, archive.files, str(context.absolute()))
    files = "1 file" if len(archive.files) == 1 else f"{len(archive.files):,} files"
    click.echo(f"source image  {image.project}/{image.name}")
    click.echo(f"context       {files}, {_human_size(archive.size)}, sha256 {archive.sha256[:8]}…")
    return 0


def _check(spec: dict[str, Any]) -> "SourceImage":
    """Check everything that can be checked without talking to Google."""
    from pydantic import ValidationError

    from cos_customizer.customizer.spec.faults import explain
    from cos_customizer.customizer.spec.model import Scratch, SourceImage

    source = spec.setdefault("source", {})
    source["architecture"] = source.get("architecture", OPTIONS["source.architecture"].default).upper()
    bucket = spec.setdefault("scratch", {}).get("bucket", "")
    if bucket.startswith("gs://"):
        raise UsageError(
            f"-gcs-bucket: {bucket!r} is a URL, not a bucket",
            f"write -gcs-bucket={bucket.split('/')[2]}; -gcs-workdir names the directory in it.",
        )
    faults: list[Message] = []

    def read(part: str, model: type[Part]) -> Part | None:
        try:
            return model.model_validate(spec[part])
        except ValidationError as error:
            faults.extend(explain({**fault, "loc": (part, *fault["loc"])}) for fault in error.errors())
            return None

    image = read("source", SourceImage)
    read("scratch", Scratch)
    if faults or image is None:
        raise UsageError(joined("; ", faults), "see: cos-customizer help start-image-build.")
    return image


def _human_size(size: int) -> str:
    """A size for people: `0.2 kB`, `35.0 MB`.

    Args:
        size: in bytes.
    """
    if size < 100:
        return f"{size} bytes"
    power = 3 if size >= 10**9 else 2 if size >= 10**6 else 1
    return f"{size / 1000**power:.1f} {('kB', 'MB', 'GB')[power - 1]}"
