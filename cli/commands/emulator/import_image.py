"""`emulator import-image`: an image of a disk in a file."""

import tempfile
from pathlib import Path

import click

from cos_customizer.cli.checks import checked
from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._running import (
    USED_STATE_DIR,
    LocalCloud,
    check_disk_name,
    report,
    translated,
)
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import ChoiceFlag, IntegerFlag, ListFlag, MapFlag
from cos_customizer.cli.go_flags import ArgumentFirst, see_help
from cos_customizer.customizer.errors import NotFoundError, UsageError

_PROJECT = "my-project"

FLAGS = (
    Flag("project", "Project of the image.", default=_PROJECT, value="PROJECT", example="-project=my-project"),
    Flag("family", "Family of the image.", value="FAMILY", example="-family=debian"),
    Flag("description", "Description of the image.", value="TEXT", example="-description='from our CI'"),
    ListFlag(
        "guest-os-features",
        "What the image's system can do. UEFI_COMPATIBLE boots it by UEFI; without it, machines have a BIOS.",
        value="FEATURE,…",
        example="-guest-os-features=UEFI_COMPATIBLE,GVNIC",
    ),
    ChoiceFlag(
        "architecture", "Architecture of the image.", choices=("X86_64", "ARM64"), example="-architecture=ARM64"
    ),
    MapFlag("labels", "Labels of the image.", value="KEY=VALUE,…", example="-labels=team=web"),
    IntegerFlag(
        "disk-size-gb", "Size of disks of the image, in GiB. By default that of FILE's.", example="-disk-size-gb=10"
    ),
    USED_STATE_DIR,
)


@command(
    "import-image",
    [*FLAGS, click.Argument(["file"], type=click.Path()), click.Argument(["name"], required=False)],
    rank=8,
    kind=ArgumentFirst,
)
def import_image(
    file: str,
    name: str | None,
    project: str,
    family: str | None,
    description: str | None,
    guest_os_features: list[str],
    architecture: str | None,
    labels: dict[str, str],
    disk_size_gb: int | None,
    state_dir: str | None,
) -> None:
    """Make an image of the disk in FILE: a raw one (.raw, .img), .qcow2, or .tar.gz of one disk.raw.

    The last is what Compute Engine imports and exports, and is taken by its rules; the size of the others is rounded up
    to whole GiB. The image's NAME is that of the file, unless given.
    """
    from cos_customizer.customizer import names
    from cos_customizer.emulator.errors import EmulatorError
    from cos_customizer.emulator.machines import disk_formats

    path = Path(file)
    if not path.is_file():
        raise NotFoundError(f"there is no file {file!r}")
    check_disk_name(path)
    checked("project", [project], names.check_project)
    try:
        image = names.check_resource_name(name or disk_formats.stem(path).lower())
    except ValueError as error:
        raise UsageError(f"NAME: {error}", see_help("emulator import-image")) from None
    cloud = LocalCloud.of(state_dir)
    from cos_customizer.gcp import archives

    wanted = {
        "name": image,
        "family": family,
        "description": description,
        "guestOsFeatures": [{"type": feature} for feature in guest_os_features],
        "architecture": architecture,
        "labels": labels,
        "diskSizeGb": str(disk_size_gb) if disk_size_gb else None,
    }
    with tempfile.TemporaryDirectory() as directory:
        try:
            archive = path if disk_formats.is_archive(path) else disk_formats.to_archive(path, Path(directory))
        except EmulatorError as error:
            raise translated(error) from None
        archives.import_archive(cloud.clients, project, {key: each for key, each in wanted.items() if each}, archive)
    report(f"image projects/{project}/global/images/{image} is ready")
