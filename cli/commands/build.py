"""`build`: build the image of a recipe in a single command."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.go_flags import Flag, GoCommand
from cos_customizer.cli.output_file import OUTPUT_FILE_FLAG, OutputFile
from cos_customizer.customizer.errors import UsageError

if TYPE_CHECKING:
    pass

FLAGS = (
    Flag(
        "recipe",
        "The recipe: a YAML file, whose first document counts; - is standard input. Its context.path is relative to "
        "the file's directory. Required.",
        value="FILE",
        completer=click.Path(allow_dash=True),
        example="-recipe=hello.yaml",
    ),
    Flag(
        "set",
        "Set a field of the recipe: its dotted path, items of lists by number from 0, and a text. A value that begins "
        "with [, { or a quotation mark is read as YAML; null takes the field out. A context.path given here is "
        "relative to the working directory. May be repeated.",
        kind="texts",
        value="KEY=VALUE",
        example="-set steps.0.env.RELEASE=42",
    ),
    OUTPUT_FILE_FLAG,
    Flag(
        "dry-run",
        "Build nothing: print the recipe as it is understood and every request that would be sent, as YAML.",
        kind="bool",
    ),
)


@click.command(
    "build",
    cls=GoCommand,
    params=list(FLAGS),
    short_help="Build the image of a recipe: all build steps in one command.",
)
@click.pass_context
def build(ctx: click.Context, /, **values: Any) -> int:
    """Build the image of a recipe: all build steps in one command, with no local state.

    A recipe is a YAML file that says everything about a build; `cos-customizer schema` prints what it may hold. The
    output of finish-image-build -dry-run is one. The build itself, its clean-up and its exit codes are those of
    finish-image-build.
    """
    started = ctx.obj if isinstance(ctx.obj, float) else time.monotonic()
    if not values["recipe"]:
        raise UsageError("-recipe must be set", "see: cos-customizer help build.")
    from cos_customizer.customizer.spec.recipe import read_recipe

    spec = read_recipe(Path(values["recipe"])).with_settings(values["set"]).spec()
    if values["dry_run"]:
        from cos_customizer.cli.dry_run import dry_run

        path = spec.context.path
        return dry_run(spec, path if path.startswith("gs://") else str(Path(path).absolute()))
    output_file = OutputFile.checked(values["output_file"])
    from cos_customizer.cli.run_build import run_build

    result = run_build(spec, started, output_file)
    return 0 if result.outcome in ("built", "exists") else 1
