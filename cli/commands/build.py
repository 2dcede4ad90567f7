"""`build`: build the image of a recipe in a single command."""

import time
from pathlib import Path

import click

from cos_customizer.cli.command import RECIPES, command
from cos_customizer.cli.dry_run import FULL_FLAG
from cos_customizer.cli.flag_kinds import ChoiceFlag, PathFlag, SwitchFlag, TextsFlag
from cos_customizer.cli.output_file import OUTPUT_FILE_FLAG, OutputFile
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.options import ON_EXISTING_CHOICES, OPTIONS

FLAGS = (
    PathFlag(
        "recipe",
        "The recipe: a YAML file, whose first document counts; - is standard input. Its context.path is relative to "
        "the file's directory. Required.",
        value="FILE",
        example="-recipe=hello.yaml",
    ),
    TextsFlag(
        "set",
        "Set a field of the recipe: its dotted path, items of lists by number from 0, and a text. A value that begins "
        "with [, { or a quotation mark is read as YAML; null takes the field out. A context.path given here is "
        "relative to the working directory.",
        field="setting",
        value="KEY=VALUE",
        example="-set steps.0.env.RELEASE=42",
    ),
    ChoiceFlag(
        "on-existing",
        OPTIONS["output.on_existing"].text,
        also="By default what the recipe says.",
        choices=ON_EXISTING_CHOICES,
        field="output.on_existing",
        example="-on-existing=replace",
    ),
    OUTPUT_FILE_FLAG,
    SwitchFlag(
        "dry-run",
        "Build nothing: print the recipe as it is understood and every request that would be sent, as YAML.",
    ),
    FULL_FLAG,
)


@command("build", FLAGS, section=RECIPES, rank=1)
@click.pass_context
def build(
    ctx: click.Context,
    /,
    recipe: str | None,
    set: list[str],  # noqa: A002
    on_existing: str | None,
    output_file: str | None,
    dry_run: bool,
    dry_run_full: bool,
) -> int:
    """Build the image of a recipe: all build steps in one command.

    There is no local state. A recipe is a YAML file that says everything about a build; `cos-customizer schema` prints
    what it may hold. The output of finish-image-build -dry-run is one. The build itself, its clean-up and its exit
    codes are those of finish-image-build.
    """
    started = ctx.obj if isinstance(ctx.obj, float) else time.monotonic()
    if not recipe:
        raise UsageError("-recipe must be set", "see: cos-customizer help build.")
    from cos_customizer.customizer.spec.recipe import read_recipe

    settings = [*set, f"output.on_existing={on_existing}"] if on_existing else set
    spec = read_recipe(Path(recipe)).with_settings(settings).spec()
    if dry_run or dry_run_full:
        from cos_customizer.cli.dry_run import dry_run as print_dry_run

        path = spec.context.path
        return print_dry_run(spec, path if path.startswith("gs://") else str(Path(path).absolute()), dry_run_full)
    result_file = OutputFile.checked(output_file)
    from cos_customizer.cli.run_build import run_build

    result = run_build(spec, started, result_file)
    return 0 if result.outcome in ("built", "exists") else 1
