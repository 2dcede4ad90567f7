"""`emulator export-image`: the disk of an image, in a file."""

import secrets
import tempfile
from pathlib import Path

import click

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._found import named_in, the_one
from cos_customizer.cli.commands.emulator._running import (
    USED_STATE_DIR,
    LocalCloud,
    check_disk_name,
    report,
    translated,
)
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.go_flags import ArgumentFirst
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.references import ImageRef

_PROJECT = Flag(
    "project",
    "Project of the image. By default the one that has such an image.",
    value="PROJECT",
    example="-project=my-project",
)


@command(
    "export-image",
    [
        _PROJECT,
        USED_STATE_DIR,
        click.Argument(["image"], type=named_in("global/images")),
        click.Argument(["file"], type=click.Path()),
    ],
    rank=9,
    kind=ArgumentFirst,
)
def export_image(image: str, file: str, project: str | None, state_dir: str | None) -> None:
    """Write the disk of an image to FILE: .tar.gz as Compute Engine exports and imports it, .qcow2 or .raw (.img).

    What is written boots elsewhere, too: in Compute Engine, or under QEMU by itself.
    """
    from cos_customizer.emulator.errors import EmulatorError
    from cos_customizer.emulator.machines import disk_formats

    path = Path(file).absolute()
    check_disk_name(path)
    if not path.parent.is_dir():
        raise CustomizerError(f"there is no directory {str(path.parent)!r}")
    cloud = LocalCloud.of(state_dir)
    from cos_customizer.gcp import archives, inventory

    found = inventory.images(cloud.clients, [project] if project else cloud.projects())
    ref = the_one(image, [each.ref for each in found], _names, "image", "images")
    bucket, name = f"{ref.project}_cloudbuild", f"export-{secrets.token_hex(8)}.tar.gz"
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as directory:
        archive = Path(directory) / "disk.tar.gz"
        cloud.post("/emulator/exports", {"image": ref.path, "destination": f"gs://{bucket}/{name}"})
        archives.fetch(cloud.clients, bucket, name, archive)
        try:
            if disk_formats.is_archive(path):
                archive.replace(path)
            else:
                made = Path(directory) / f"made{path.suffix}"
                disk_formats.from_archive(archive, made)
                made.replace(path)
        except EmulatorError as error:
            raise translated(error) from None
    report(f"{file} has the disk of {ref.path}, {path.stat().st_blocks * 512 >> 20} MB")


def _names(ref: ImageRef) -> tuple[str, str]:
    return ref.name, f"-project={ref.project}"
