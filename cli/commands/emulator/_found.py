"""Finding what a name means among all that an emulator has: a project need not be named."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import click

from cos_customizer.cli.commands.emulator._running import names_of
from cos_customizer.cli.flag_kinds import ListFlag
from cos_customizer.cli.flag_values import Candidates
from cos_customizer.customizer.errors import NotFoundError, UsageError
from cos_customizer.customizer.spelling import did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

T = TypeVar("T")

PROJECTS = ListFlag(
    "project",
    "Projects to look at. By default all that have anything.",
    value="PROJECT,…",
    example="-project=my-project",
)


def the_one(name: str, found: Sequence[T], names: Callable[[T], tuple[str, str]], what: str, listing: str) -> T:
    """The one thing of a name.

    Args:
        name: what is looked for.
        found: all things that it may be.
        names: gives a thing's name, and the flags that tell it apart from others of that name.
        what: the kind of thing, for messages.
        listing: the command of the emulator that lists them.

    Raises:
        NotFoundError: there is none.
        UsageError: there are several.
    """
    same = [each for each in found if names(each)[0] == name]
    if len(same) > 1:
        ways = " or ".join(dict.fromkeys(names(each)[1] for each in same))
        raise UsageError(f"there are {len(same)} {what}s {name}", f"say which: {ways}.")
    if not same:
        near = did_you_mean(name, [names(each)[0] for each in found])
        raise NotFoundError(
            f"there is no {what} {name!r}", f"{near} `cos-customizer emulator {listing}` lists what there is.".lstrip()
        )
    return same[0]


def named_in(*collections: str) -> Candidates:
    """The type of an argument that names something in collections of any project, such as `global/images`."""

    def find(ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        from click.shell_completion import CompletionItem

        names = names_of(ctx.params.get("state_dir"), collections)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return Candidates("name", find)


def in_projects(chosen: Sequence[str]) -> str:
    """Where was looked, if that was said."""
    return f" in {', '.join(chosen)}" if chosen else ""


def moment(rfc3339: str) -> str:
    """A time for people, in this machine's time zone."""
    return datetime.fromisoformat(rfc3339).astimezone().strftime("%Y-%m-%d %H:%M") if rfc3339 else ""
