"""`diff`: what two images differ in."""

from typing import TYPE_CHECKING

import click

from cos_customizer.cli.command import FAMILIES, command
from cos_customizer.cli.flag_kinds import ChoiceFlag, SwitchFlag
from cos_customizer.cli.go_flags import ArgumentFirst, see_help
from cos_customizer.cli.messages import printable
from cos_customizer.cli.named_images import project_flag, wanted
from cos_customizer.cli.time_limit import timeout_flag, within
from cos_customizer.customizer.errors import CustomizerError, UsageError

if TYPE_CHECKING:
    from cos_customizer.customizer.contents.compared import Compared

_FORMATS = ("text", "markdown", "json")
_TIME_LIMIT = "10m0s"
_DIFFERENT, _TROUBLE = 1, 2

FLAGS = (
    project_flag("of the images that name none"),
    ChoiceFlag(
        "format",
        "What is printed: text, for a terminal; markdown, a page for people who do not know the recipe; json, for "
        "programs.",
        choices=_FORMATS,
        default="text",
        field="format",
        example="-format=markdown",
    ),
    SwitchFlag(
        "all", "Print a line for each file, also where a directory has many changes. Only for text: json has all files."
    ),
    SwitchFlag(
        "exit-code",
        "Exit with 1 if there are differences, and with 2 if they could not be found out for whatever reason. By "
        "default differences are no failure.",
    ),
    timeout_flag(_TIME_LIMIT, "Nothing is changed in any case."),
)


@command(
    "diff",
    [*FLAGS, click.Argument(["images"], nargs=-1, metavar="IMAGE [IMAGE]")],
    section=FAMILIES,
    rank=5,
    kind=ArgumentFirst,
)
def diff(
    images: tuple[str, ...],
    project: str | None,
    format: str | None,  # noqa: A002
    all: bool,  # noqa: A002
    exit_code: bool,
    timeout: str,
) -> int:
    """Print what two images differ in: packages, container images, files, units, kernel arguments, partitions.

    The second image is compared with the first. One image alone is compared with the image that it was made from: what
    its build has done. An image is written as NAME, or family/NAME for the image that a family gives now; either may
    stand behind its project, as in my-project/family/web. Both must have been built with their contents recorded. What
    differs between any two builds of one recipe (ids, keys, caches, logs) does not show.
    """
    try:
        compared = _compare(images, project, timeout)
        _print(compared, format or "text", all)
    except CustomizerError as error:
        if exit_code:
            error.exit_code = _TROUBLE
        raise
    return _DIFFERENT if exit_code and compared.difference else 0


def _compare(images: tuple[str, ...], project: str | None, timeout: str) -> "Compared":
    if not 1 <= len(images) <= 2:
        raise UsageError(f"one image or two are needed, not {len(images)}", see_help("diff"))
    asked = [wanted(image, project) for image in images]
    limit = within(timeout, _TIME_LIMIT)
    from cos_customizer.gcp import comparison
    from cos_customizer.gcp.clients import connect

    with limit:
        clients = connect()
        found = [comparison.find(clients, each) for each in asked]
        if len(found) == 1:
            return comparison.compare_with_source(clients, found[0])
        return comparison.compare_images(clients, *found)


def _print(compared: "Compared", form: str, every_file: bool) -> None:
    if form == "json":
        from cos_customizer.customizer.contents.difference_json import to_json

        click.echo(to_json(compared), nl=False)
    elif form == "markdown":
        from cos_customizer.customizer.contents.difference_markdown import markdown

        click.echo(markdown(compared), nl=False)
    else:
        from cos_customizer.customizer.contents.difference_text import text

        click.echo(f"{compared.before.in_words} → {compared.after.in_words}")
        click.echo()
        for line in text(compared.difference, every_file=every_file):
            click.echo(printable(line))
