"""`init`: what a repository of one's own begins with."""

import shlex
from pathlib import Path

import click

from cos_customizer.cli.command import RECIPES, command
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import ListFlag, SwitchFlag
from cos_customizer.cli.flag_values import PathType
from cos_customizer.cli.go_flags import ArgumentFirst

FLAGS = (
    Flag(
        "name",
        "Name of the image and of its family. Default: the directory's.",
        value="NAME",
        example="-name=web",
    ),
    Flag("project", "Project that the image is made in.", default="my-project", value="PROJECT"),
    Flag("gcs-bucket", "Cloud Storage bucket for scratch space. Default: PROJECT_cloudbuild.", value="BUCKET"),
    ListFlag("zone", "Zones for the builder VM. Default: us-west1-b.", value="ZONE,…", example="-zone=us-west1-b"),
    Flag(
        "requirement",
        "What pip installs cos-customizer from, in CI: a line of requirements.txt. Default: this version.",
        value="REQUIREMENT",
        example="-requirement='cos-customizer[emulator] @ git+https://github.com/my-org/cos-customizer'",
    ),
    SwitchFlag("skip-existing", "Leave out files that are there already, instead of refusing to begin."),
)


@command(
    "init",
    [*FLAGS, click.Argument(["directory"], required=False, type=PathType())],
    section=RECIPES,
    rank=3,
    kind=ArgumentFirst,
)
def init(
    directory: str | None,
    name: str | None,
    project: str,
    gcs_bucket: str | None,
    zone: list[str],
    requirement: str | None,
    skip_existing: bool,
) -> None:
    """Begin a repository of images in a directory, by default the working directory.

    Writes a recipe with its script and its test, a cloudbuild.yaml, a prefect.yaml, a workflow of GitHub Actions that
    builds and tests on the local Compute Engine, requirements.txt and .gitattributes. All are complete, and yours to
    change. No file that is there is touched. A second image: cos-customizer init -name=other -skip-existing.
    """
    from cos_customizer.cli.new_repository import REQUIREMENT, ZONE, NewRepository, name_from, write
    from cos_customizer.cli.reference import version

    place = Path(directory or ".")
    new = NewRepository(
        name=name or name_from(place.resolve()),
        project=project,
        bucket=gcs_bucket or f"{project}_cloudbuild",
        zones=zone or (ZONE,),
        requirement=requirement or f"{REQUIREMENT}=={version().partition(' ')[2]}",
    )
    new.check()
    for path in write(place, new.files(), skip_existing):
        click.echo(f"wrote {place / path}")
    enter = f"cd {shlex.quote(directory)} && " if place.resolve() != Path.cwd() and directory else ""
    click.echo(f'\nBuild it here, on the local Compute Engine:\n\n  {enter}eval "$(cos-customizer emulator start)"')
    click.echo(f"  cos-customizer build -recipe=recipes/{new.name}.yaml")
